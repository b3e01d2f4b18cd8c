"""OUTPUT_DIR auto."""

import argparse
from pathlib import Path

import pytest
import torch

from tubedet.cli.running import run_command
from tubedet.engine import numbered_folders
from tubedet.engine.numbered_folders import (
    latest_training,
    make_next_folder,
    next_folder,
    with_numbered_folder,
)
from tubedet.errors import UserError


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _args(output, **options):
    return argparse.Namespace(config_file="", opts=["OUTPUT_DIR", output], **options)


def test_folders_are_numbered_behind_the_last(monkeypatch):
    assert next_folder() == "output/001" and not Path("output").exists()
    Path("output/persons").mkdir(parents=True)
    assert [make_next_folder() for _ in range(2)] == ["output/001", "output/002"]
    Path("output/1041").mkdir()
    Path("output/1041/log.txt").touch()
    assert make_next_folder() == "output/1042"
    # Another run makes the same one in between.
    names = iter(["output/1042", "output/1043"])
    monkeypatch.setattr(numbered_folders, "next_folder", lambda parent: next(names))
    assert make_next_folder() == "output/1043"


def test_all_processes_get_the_folder_of_the_main_process(monkeypatch):
    assert with_numbered_folder(_args("elsewhere")).opts == ["OUTPUT_DIR", "elsewhere"]
    monkeypatch.setattr(numbered_folders.comm, "is_main_process", lambda: False)
    monkeypatch.setattr(numbered_folders, "of_main_process", lambda own: own or "output/007")
    args = with_numbered_folder(_args("auto", resume=False))
    assert args.opts == ["OUTPUT_DIR", "auto", "OUTPUT_DIR", "output/007"]
    assert not Path("output").exists()
    assert with_numbered_folder(args) is args


def test_resume_takes_the_latest_training():
    for number in ("001", "002", "003", "12"):
        Path("output", number).mkdir(parents=True)
    with pytest.raises(UserError, match="OUTPUT_DIR auto .* none has a checkpoint; name the"):
        latest_training()
    for number in ("001", "002", "12"):
        Path("output", number, "last_checkpoint").write_text("model_final.pth")
    args = with_numbered_folder(_args("auto", resume=True))
    assert args.opts[-1] == "output/002" and len(list(Path("output").iterdir())) == 4


def test_the_command_makes_one_and_resumes_it(monkeypatch, capsys):
    """Up to the processes, in which the training runs."""
    runs = []

    def run(main, options, device):
        runs.append(with_numbered_folder(options).opts[-1])

    monkeypatch.setattr("tubedet.cli.train.launch_processes", run)
    monkeypatch.setattr("tubedet.cli.train.check_data_sets", lambda *_, **__: None)
    arguments = ["--config-file", "quick_schedules/TubeR_toy.yaml", "OUTPUT_DIR", "auto"]
    assert run_command("train", ["--resume", *arguments], prog="train") == 2
    assert capsys.readouterr().err.startswith("train: error: --resume with OUTPUT_DIR auto")
    assert not Path("output").exists()
    assert run_command("train", arguments) == run_command("train", arguments) == 0
    torch.save({}, "output/001/model_final.pth")
    Path("output/001/last_checkpoint").write_text("model_final.pth")
    assert run_command("train", ["--resume", *arguments]) == 0
    assert runs == ["output/001", "output/002", "output/001"]
