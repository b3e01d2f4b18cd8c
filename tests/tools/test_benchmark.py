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
    ):
        with pytest.raises(SystemExit) as caught:
            command(arguments)
        assert caught.value.code == 2
        assert message in capsys.readouterr().err
    for arguments, message in (
        (["--source", str(tmp_path / "absent.mp4")], "absent.mp4"),
        (["--sizes", "63x48"], "must be even, got 63x48"),
    ):
        assert command(["--task", "data", *arguments]) == 2
        assert message in capsys.readouterr().err
