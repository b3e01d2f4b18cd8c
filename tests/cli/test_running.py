"""Exit statuses and error lines of all commands."""

import errno
import logging
import subprocess
import sys
import warnings

import pytest
from av.error import InvalidDataError

import tubedet
from tubedet.checkpoint import CheckpointError
from tubedet.cli import running
from tubedet.cli.running import COMMANDS, main, parse_command_line, run_cli, run_command
from tubedet.data import AnnotationError, VideoError
from tubedet.errors import UserError
from tubedet.evaluation import EvaluationError
from tubedet.export import ExportError
from tubedet.third_party_warnings import silenced_third_party_warnings


def _raising(error):
    def program():
        raise error

    return program


@pytest.mark.parametrize(
    "error, line",
    [
        (UserError("no such key"), "no such key"),
        (UserError("two\nlines"), "two lines"),
        (AnnotationError("rows.csv:3: no box"), "rows.csv:3: no box"),
        (CheckpointError("w.pth: cut off"), "w.pth: cut off"),
        (EvaluationError("p.csv: other videos"), "p.csv: other videos"),
        (ExportError("too large"), "too large"),
        (VideoError("in.mp4: empty"), "in.mp4: empty"),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "in.mp4"),
            "in.mp4: No such file or directory",
        ),
        (OSError("no display"), "no display"),
        (
            InvalidDataError(1094995529, "Invalid data found", "out.mp4"),
            "out.mp4: Invalid data found",
        ),
    ],
)
def test_an_error_of_the_user_is_one_line_and_status_2(error, line, capsys):
    assert run_cli(_raising(error), prog="demo.py") == 2
    assert capsys.readouterr() == ("", f"demo.py: error: {line}\n")


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), RuntimeError(), TypeError()])
def test_a_fault_of_the_program_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        run_cli(_raising(error))


def test_ctrl_c_is_status_130(capsys):
    assert run_cli(_raising(KeyboardInterrupt()), prog="tubedet demo") == 130
    assert capsys.readouterr().err == "tubedet demo: error: interrupted\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys, monkeypatch):
    if name == "benchmark":  # its program has a parser of its own
        return
    with pytest.raises(SystemExit) as ended:
        parse_command_line(name, ["--help"], prog=f"tubedet {name}")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: tubedet {name} ") and len(said) > 200


def test_wrong_options_are_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        run_command("train", ["--config-file", "x.yaml", "--num-gpus", "0"], prog="train_net.py")
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "train_net.py: error: argument --num-gpus: expected a whole number from 1 on, got '0' "
        "(--help lists the options)\n"
    )


def test_the_one_command(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(running, "run_command", lambda *a, **k: calls.append((a, k)) or 3)
    with pytest.raises(SystemExit) as ended:
        main(["predict", "--inputs", "list.txt"])
    assert ended.value.code == 3
    assert calls == [(("predict", ["--inputs", "list.txt"]), {"prog": "tubedet predict"})]
    for arguments, code, said in (
        ([], 2, "the following arguments are required: COMMAND"),
        (["dance"], 2, "invalid choice: 'dance'"),
        (["--version"], 0, f"tubedet {tubedet.__version__}"),
        (["--help"], 0, "detect actions in many videos"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsys.readouterr()
        assert ended.value.code == code and said in captured.out + captured.err


def test_importing_tubedet_leaves_the_filters_of_its_host_alone():
    program = "import warnings, logging; before = list(warnings.filters); import tubedet; "
    program += "assert list(warnings.filters) == before, warnings.filters; "
    program += "assert not logging.getLogger('torch.utils.cpp_extension').filters"
    # Packages that it imports have filters of their own: they are imported before.
    first = "import torch, torchvision, detectron2.engine, detectron2.modeling, scipy, av, cv2; "
    first += "import detectron2.evaluation, detectron2.export, matplotlib.pyplot, safetensors; "
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", first + program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_commands_silence_the_notices(monkeypatch):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")

        def program():
            warnings.warn("`torch.jit.script` is deprecated", stacklevel=1)
            warnings.warn("something new", stacklevel=1)
            return 0

        assert run_cli(program) == 0
    assert [str(warning.message) for warning in heard] == ["something new"]


def test_notices_of_other_packages_are_kept_back_and_nothing_else(caplog, monkeypatch):
    logger = logging.getLogger("onnxscript.optimizer._constant_folding")
    monkeypatch.setattr(logger, "filters", [])  # commands run before leave one
    for _ in range(2):
        with silenced_third_party_warnings():
            logger.warning("Skipping constant folding for op %s with multiple outputs.", "Split")
            logger.warning("The graph is wrong")
    logger.warning("Skipping constant folding for op %s with multiple outputs.", "Split")
    assert [message.split()[0] for message in caplog.messages] == ["The", "The", "Skipping"]
