"""The command line of the measurements."""

import importlib.util
import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def command():
    path = Path(__file__).parents[2] / "tools" / "benchmark.py"
    spec = importlib.util.spec_from_file_location("benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_data_task_writes_figures_options_and_versions(command, tmp_path, capsys):
    path = tmp_path / "data.json"
    arguments = ["--task", "data", "--repeats", "1", "--json", str(path), "--sizes", "64x48"]
    arguments += ["--seconds", "1", "--clips", "2", "--frames", "4", "--short-side", "24"]
    assert command(arguments) == 0
    stored = json.loads(path.read_text())
    assert stored["task"] == "data" and stored["options"]["clips"] == 2
    assert stored["environment"]["pyav"] and len(stored["cases"]) == 2
    assert "64x48" in capsys.readouterr().out


def test_wrong_options_and_sources(command, tmp_path, capsys):
    for arguments, message in (
        ([], "the following arguments are required: --task"),
        (["--task", "data", "--repeats", "0"], "--repeats must be at least 1"),
        (["--task", "data", "--clips", "0"], "0 is not positive"),
        (["--task", "data", "--sizes", "big"], "argument --sizes: invalid"),
        (["--task", "inference"], "the following arguments are required: --config-file"),
        (["--task", "train", "--config-file", "x", "--variant", "prepared"], "invalid choice"),
        (["--task", "scaling", "--config-file", "x", "--frames", "0"], "0 is not positive"),
        (["--task", "processes", "--warmup", "-1"], "-1 is negative"),
    ):
        with pytest.raises(SystemExit) as caught:
            command(arguments)
        assert caught.value.code == 2
        assert message in capsys.readouterr().err
    toy = "configs/quick_schedules/TubeR_toy.yaml"
    for arguments, message in (
        (["data", "--source", str(tmp_path / "absent.mp4")], "absent.mp4"),
        (["data", "--sizes", "63x48"], "must be even, got 63x48"),
        (["inference", "--config-file", "absent.yaml"], "absent.yaml does not exist"),
        (["train", "--config-file", toy, "NO.SUCH", "1"], "NO.SUCH"),
        # The measured process finds this one.
        (["inference", "--config-file", toy, "MODEL.WEIGHTS", "absent.pth"], "absent.pth"),
    ):
        assert command(["--task", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error


def test_the_json_is_looked_at_before_anything_is_measured(command, tmp_path, capsys):
    arguments = ["--task", "inference", "--config-file", "absent.yaml", "--json"]
    assert command([*arguments, str(tmp_path / "none" / "x.json")]) == 2
    assert f"there is no folder {tmp_path}/none to write x.json to" in capsys.readouterr().err


def test_help_has_paragraphs_and_defaults_that_say_something(command, capsys):
    for arguments in (["--help"], ["--task", "inference", "--help"]):
        with pytest.raises(SystemExit):
            command(arguments)
        text = capsys.readouterr().out
        assert "None)" not in text and "False)" not in text
        assert "repetitions of each measurement (default: 3)" in text
        assert ("\n    python tools/benchmark.py --task data" in text) == (len(arguments) == 1)


def test_evaluation_task_in_a_process_of_its_own(command, tmp_path, capsys):
    path = tmp_path / "evaluation.json"
    arguments = ["--task", "evaluation", "--rows", "2000", "--repeats", "1", "--json", str(path)]
    assert command(arguments) == 0
    stored = json.loads(path.read_text())
    assert stored["task"] == "evaluation" and stored["options"]["rows"] == 2000
    assert stored["phases"]["total"]["cpu_s"]["median"] > 0
    assert "2,000 of predictions" in capsys.readouterr().out
