"""--model in all commands that have it, and videos that demo takes without an option."""

import argparse
import hashlib
import importlib
import json
from pathlib import Path

import numpy as np
import pytest
from release_server import toy_release, unused_url

from tubedet.cli import export, train
from tubedet.cli.arguments import frame_rate, key_value_pairs
from tubedet.cli.running import parse_command_line, run_command
from tubedet.errors import UserError
from tubedet.inference.writers import VideoWriter
from tubedet.model_zoo import get_config_file

NAME = "TubeR_toy_released"
CPU = ["MODEL.DEVICE", "cpu"]
# What each command needs besides the model.
ARGUMENTS = {
    "demo": ["film.mp4"],
    "export": ["--format", "torch_export", "--output", "out.pt2"],
    "predict": ["--inputs", "list.txt", "--output", "out"],
    "train": ["--eval-only"],
    "web": [],
}


@pytest.fixture(autouse=True)
def no_console_logger(monkeypatch):
    """detectron2 keeps the stream of the first call, which pytest closes."""
    for name in ARGUMENTS:
        module = importlib.import_module(f"tubedet.cli.{name}")
        monkeypatch.setattr(module, "log_to_console", lambda **_: None, raising=False)


@pytest.fixture(params=ARGUMENTS)
def command(request):
    """A command and what it needs besides the model."""
    if request.param == "web":
        pytest.importorskip("gradio")
    return request.param, ARGUMENTS[request.param]


@pytest.fixture
def film(release_cache):
    """Ten frames in the current folder, which has nothing else but a list of them."""
    with VideoWriter("film.mp4", 10) as writer:
        for number in range(10):
            frame = np.full((48, 64, 3), 90, np.uint8)
            frame[10:30, number : number + 20] = 220
            writer.write(frame)
    Path("list.txt").write_text("film.mp4\n")


def test_config_and_weights_come_by_name(command):
    name, arguments = command
    options = parse_command_line(name, ["--model", "TubeR_CSN152_AVA22", *arguments, *CPU])
    assert options.config_file == get_config_file("AVA/TubeR_CSN152_AVA22.yaml")
    assert options.opts == ["MODEL.WEIGHTS", "TubeR_CSN152_AVA22", *CPU]
    other = ["--config-file", "mine.yaml", "--model", "TubeR_CSN152_AVA22"]
    assert parse_command_line(name, [*other, *arguments]).config_file == "mine.yaml"


def test_a_model_or_a_config_is_needed(command, capsys):
    name, arguments = command
    for words, message in (
        ([], "one of the arguments --config-file --model is required"),
        (["--model", "TubeR_CSN152"], "TubeR_CSN152 is not the name of a released model; did you"),
        (["--model", "detr-r50-e632da11"], "detr-r50-e632da11 is not a whole detector; known are"),
    ):
        with pytest.raises(SystemExit) as ended:
            parse_command_line(name, [*words, *arguments])
        (line,) = capsys.readouterr().err.splitlines()
        assert ended.value.code == 2 and f": error: {message}" in line


@pytest.mark.filterwarnings("ignore")
def test_without_a_network_every_command_says_one_line(
    command, film, add_release, capfd, monkeypatch
):
    monkeypatch.setattr(train, "check_data_sets", lambda *_, **__: None)  # there are none here
    name, arguments = command
    release = add_release(toy_release(unused_url()))
    before = sorted(Path().iterdir())
    assert run_command(name, ["--model", NAME, *arguments, *CPU], prog=f"tubedet {name}") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"tubedet {name}: error: {NAME} cannot be fetched: ")
    assert release.url in line and "/cache/files/toy.pth" in line
    assert sorted(Path().iterdir()) == before


def test_demo_needs_a_video_and_a_name_only(film, release, release_server, capfd):
    assert run_command("demo", ["film.mp4", "--model", NAME, *CPU]) == 0
    assert sorted(path.name for path in Path().iterdir()) == [
        *("film.mp4", "film_actions.mp4", "list.txt"),
    ]
    assert "licence CC0-1.0" in capfd.readouterr().err
    words = ["--model", NAME, "film.mp4", *CPU, "--json", "out.jsonl"]
    assert run_command("demo", words) == 0
    assert Path("out.jsonl").read_text().count("\n") == 1
    assert release_server.downloads == ["/files/toy.pth"]
    assert "licence" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "words, videos, opts",
    [
        (["a.mp4", "b.mp4", "--every", "2"], ["a.mp4", "b.mp4"], []),
        (["MODEL.DEVICE", "cpu", "--video-input", "a.mp4", "--json", "x"], [], CPU),
        (["IN.MP4", "MODEL.DEVICE", "cpu"], ["IN.MP4"], CPU),
        (["A", "SEED", "-1"], ["A"], ["SEED", "-1"]),
        (["a.mp4", "--opts", "MODEL.DEVICE", "cpu"], ["a.mp4"], CPU),
        (["a.mp4", "SEED", "3", "--opts", *CPU], ["a.mp4"], ["SEED", "3", *CPU]),
    ],
)
def test_videos_and_keys_stand_among_the_options(words, videos, opts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "A").touch()
    options = parse_command_line("demo", ["--config-file", "x.yaml", *words])
    assert (options.videos, options.opts) == (videos, opts)
    sources = videos or ["a.mp4"]
    assert [job.source for job in options.jobs] == sources
    if videos:
        drawn = [Path(f"{Path(video).stem}_actions.mp4") for video in videos]
        assert [job.outputs.video for job in options.jobs] == drawn


@pytest.mark.parametrize(
    "words", [[], ["a.mp4", "--video-input", "b.mp4"], ["a.mp4", "--webcam", "0", "--show"]]
)
def test_videos_are_given_in_one_way(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parse_command_line("demo", ["--config-file", "x.yaml", "--json", "x", *words])
    assert ended.value.code == 2
    assert "give videos, or one of --video-input, --input and --webcam" in capsys.readouterr().err


def test_predictions_belong_to_the_content_of_the_file(film, release, released_checkpoint):
    words = ["--model", NAME, "--inputs", "list.txt", "--output", "out", "--formats", "csv"]
    assert run_command("predict", [*words, *CPU]) == 0
    digest = hashlib.sha256(released_checkpoint).hexdigest()
    assert json.loads(Path("out/run.json").read_text())["weights"] == f"sha256 {digest}"
    assert Path("out/film/film.csv").is_file()


def test_export_takes_the_released_detector(film, release, monkeypatch):
    configs = []
    monkeypatch.setattr(export, "export", lambda cfg, _: configs.append(cfg))
    words = ["--model", NAME, "--format", "onnx", "--output", "out.onnx"]
    assert run_command("export", words) == 0
    assert configs[0].MODEL.WEIGHTS == NAME and configs[0].MODEL.NUM_ACTIONS == 80


def test_weights_are_fetched_before_processes_start(
    film, release, release_server, add_release, monkeypatch
):
    started = []
    monkeypatch.setattr(train, "launch_processes", lambda *_: started.append(True))
    monkeypatch.setattr(train, "check_data_sets", lambda *_, **__: None)  # there are none here
    # Evaluation leaves MODEL.INIT alone.
    add_release(toy_release(unused_url(), name="unreachable", path="none.mat", part="backbone"))
    words = ["MODEL.INIT.BACKBONE", "unreachable", "OUTPUT_DIR", "run"]
    assert run_command("train", ["--model", NAME, "--eval-only", *words]) == 0
    assert len(started) == 1 and release_server.downloads == ["/files/toy.pth"]
    config = ["--config-file", release.config]
    assert run_command("train", [*config, *words]) == 2
    assert len(started) == 1
    # A run that goes on needs no weights of the start.
    Path("run").mkdir(exist_ok=True)
    Path("run/last_checkpoint").write_text("model.pth")
    assert run_command("train", [*config, "--resume", *words]) == 0
    assert len(started) == 2


def test_a_training_is_not_given_by_the_model_alone(capsys):
    with pytest.raises(SystemExit) as ended:
        parse_command_line("train", ["--model", "TubeR_CSN50_AVA21"])
    assert ended.value.code == 2
    assert "MODEL.WEIGHTS TubeR_CSN50_AVA21" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "rate"), [("25", 25), ("29.97", 29.97), ("30000/1001", 30000 / 1001), ("1e1", 10)]
)
def test_frame_rates(text, rate):
    assert frame_rate(text) == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("text", ["", "0", "-25", "a", "25/0", "nan", "inf", "1e400", "1e-9"])
def test_what_is_no_frame_rate_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected frames per second"):
        frame_rate(text)


def test_keys_and_values_may_be_joined():
    words = ["A.B=1", "C", "2", "D", "=", "x", "E=", "F", "a=b", "G=c=d"]
    pairs = ["A.B", "1", "C", "2", "D", "x", "E", "", "F", "a=b", "G", "c=d"]
    assert key_value_pairs(words) == pairs
    for words in (["A=1", "B"], ["B", "="]):
        with pytest.raises(UserError, match="must come in pairs, .*: B has no value"):
            key_value_pairs(words)
    with pytest.raises(UserError, match="^--resume stands behind KEY VALUE; put options before"):
        key_value_pairs(["SOLVER.MAX_ITER", "80", "--resume"])
