import contextlib
import multiprocessing
import socket
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from detectron2.modeling import build_model

from tubedet.cli import web
from tubedet.cli.running import run_command
from tubedet.engine import load_config
from tubedet.inference.device_faults import BrokenDeviceError

_ROOT = Path(__file__).resolve().parents[2]
_CONFIG = str(_ROOT / "configs/quick_schedules/TubeR_toy.yaml")


@pytest.fixture
def no_console_logger(monkeypatch):
    """detectron2 keeps the stream of the first call, which pytest closes."""
    monkeypatch.setattr(web, "log_to_console", lambda **_: None)


def test_the_model_is_named_by_the_config_or_the_folder_of_a_training(tmp_path, monkeypatch):
    assert web.model_name("configs/AVA/TubeR_CSN50_AVA21.yaml") == "TubeR_CSN50_AVA21"
    assert web.model_name("output/demo/config.yaml") == "demo"
    (tmp_path / "run7").mkdir()
    monkeypatch.chdir(tmp_path / "run7")
    assert web.model_name("config.yaml") == "run7" and web.model_name("/config.yaml") == "config"


@pytest.mark.parametrize(
    "options, message",
    [
        (["--max-seconds", "0"], "--max-seconds must be a positive number"),
        (["--keep-minutes", "nan"], "--keep-minutes must be a positive number"),
        (["--port", "78600"], "--port must be in [1, 65535], got 78600"),
        (["--host", "999.1.1.1"], "--host 999.1.1.1 is no address of this computer"),
        (["--host", "192.0.2.7"], "--host 192.0.2.7 is no address of this computer"),
        (["MODEL.WEIGHTS"], "must come in pairs"),
        ([], "MODEL.WEIGHTS is empty"),
        (["MODEL.WEIGHTS", "none.pth"], "none.pth"),
        (["--config-file", "none.yaml"], "none.yaml does not exist"),
        (["--example", "none.mp4"], "--example: none.mp4 does not exist or is no file"),
        (["--example", _CONFIG], "--example: TubeR_toy.yaml cannot be read as a video."),
    ],
)
def test_bad_input_is_status_2(no_console_logger, capsys, options, message):
    pytest.importorskip("gradio")
    try:
        status = run_command("web", ["--config-file", _CONFIG, *options])
    except SystemExit as error:
        status = error.code
    assert status == 2 and message in capsys.readouterr().err.splitlines()[-1]


def test_a_port_that_is_taken_is_told_before_the_model_is_built(
    no_console_logger, monkeypatch, capsys
):
    pytest.importorskip("gradio")
    monkeypatch.setattr(web, "load_config", lambda *_: pytest.fail("too late"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run_command("web", ["--config-file", _CONFIG, "--port", str(port)]) == 2
    assert f"port {port} is taken; give another --port" in capsys.readouterr().err


def test_gradio_is_asked_for(monkeypatch, capsys):
    for name in ("tubedet.web.page", "tubedet.web.server", "gradio"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert run_command("web", ["--config-file", _CONFIG]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'tubedet[web]'" in line


def test_it_ends_without_a_trace(no_console_logger, tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    weights = tmp_path / "model.pth"
    torch.save({"model": build_model(load_config(_CONFIG)).state_dict()}, weights)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--config-file", _CONFIG, "--port", str(port)]
    arguments += ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", str(weights)]

    def serve():
        torch.set_num_threads(1)  # a forked process has none of PyTorch's threads
        sys.exit(run_command("web", arguments))

    process = multiprocessing.get_context("fork").Process(target=serve)
    process.start()
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.is_alive() and time.monotonic() < deadline
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as response:
                    assert b"tubedet" in response.read()
                    break
            time.sleep(0.05)
        assert list((tmp_path / "tmp").glob("tubedet-web-*"))
        time.sleep(1)
        process.terminate()
        process.join(60)
        assert process.exitcode == 0
    finally:
        process.kill()
    assert not list((tmp_path / "tmp").glob("tubedet-web-*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pth", "tmp"]


def test_a_broken_gpu_ends_it_with_status_1(no_console_logger, tmp_path, monkeypatch, capsys):
    pytest.importorskip("gradio")
    from tubedet.web import server

    def serve(page, *, is_over, **options):
        assert not is_over()
        page.keywords["on_broken"](BrokenDeviceError("cuda:0 works no more: CUDA error"))
        assert is_over()

    weights = tmp_path / "model.pth"
    torch.save({"model": build_model(load_config(_CONFIG)).state_dict()}, weights)
    monkeypatch.setattr(server, "serve", serve)
    arguments = ["--config-file", _CONFIG, "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", str(weights)]
    assert run_command("web", arguments, prog="web") == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert line == "web: error: cuda:0 works no more: CUDA error; start the page again"


@pytest.mark.parametrize(
    "options, is_warned",
    [
        ((), False),
        (("--host", "localhost"), False),
        (("--host", "::1"), False),
        (("--host", "0.0.0.0"), True),
        (("--host", "::"), True),
        (("--host", "192.0.2.7"), True),
        (("--host", "demo.example.org"), True),
        (("--host", "0.0.0.0", "--auth-token", "a1" * 8), False),
        (("--host", "0.0.0.0", "--auth-token", "--port", "7999"), False),
    ],
)
def test_a_page_for_others_without_a_token_is_warned_of(
    no_console_logger, tmp_path, monkeypatch, capsys, options, is_warned
):
    pytest.importorskip("gradio")
    from tubedet.web import server

    tokens = []
    monkeypatch.setattr(web, "check_address", lambda *_: None)  # some are of other computers
    monkeypatch.setattr(server, "serve", lambda page, token, **others: tokens.append(token))
    monkeypatch.setattr(web, "VideoActionDetector", lambda *arguments, **options: Mock())
    monkeypatch.setattr(web, "action_names_of", lambda *arguments: ["walk"])
    arguments = ["--config-file", _CONFIG, *options]
    arguments += ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", str(tmp_path / "model.pth")]
    (tmp_path / "model.pth").touch()
    assert run_command("web", arguments) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line]
    assert len(lines) == is_warned
    for line in lines:
        assert line.startswith(f"WARNING: everybody who reaches {options[1]} can use this page")
        assert line.endswith("; --auth-token keeps others out")
    (token,) = tokens
    assert (token is None) == ("--auth-token" not in options)
    assert token is None or len(token) >= 16
