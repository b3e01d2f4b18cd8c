"""Folders that cannot be written, and folders that disappear: one line, and the others go on."""

import shutil
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from numbered_videos import write_video

from tubedet.cli import demo, export, predict
from tubedet.cli.running import run_command
from tubedet.engine import load_config
from tubedet.inference import many_videos

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs/quick_schedules/TubeR_toy.yaml")
LABEL_MAP = str(ROOT / "tubedet/data/datasets/label_maps/ava_action_list_v2.1.pbtxt")
READ_ONLY = Path("/sys/kernel")  # for everybody, root too
REASONS = ("Operation not permitted", "Permission denied", "Read-only file system")
NAMES = ("first", "second", "third")


@pytest.fixture(autouse=True)
def no_console_logger(monkeypatch):
    """detectron2 keeps the stream of the first call, which pytest closes."""
    for module in (demo, export, many_videos, predict):
        monkeypatch.setattr(module, "log_to_console", lambda **_: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three videos, a list of them, weights, and annotations."""
    folder = tmp_path_factory.mktemp("folder")
    for name in NAMES:
        write_video(folder / f"{name}.mp4", 15, rate=10)
    (folder / "list.txt").write_text("".join(f"{name}.mp4\n" for name in NAMES))
    (folder / "gt.csv").write_text("first,0902,0.1,0.2,0.5,0.9,12,0\n")
    (folder / "gt.txt").write_text("1,1,10,15,5,12,1,1,1.0\n")
    (folder / "labels.txt").write_text("walk\n")
    model = build_model(load_config(CONFIG, ["MODEL.DEVICE", "cpu"]))
    torch.save({"model": model.state_dict()}, folder / "model.pth")
    return folder


def arguments(folder, *words):
    opts = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", folder / "model.pth"]
    return [str(word) for word in ("--config-file", CONFIG, *words, *opts)]


def told(capsys):
    """What was printed as an error; it is one line, behind which nothing comes."""
    lines = capsys.readouterr().err.splitlines()
    assert not any("Traceback" in line for line in lines)
    assert sum(": error: " in line for line in lines) == 1 and ": error: " in lines[-1]
    return lines[-1]


@pytest.mark.skipif(not READ_ONLY.is_dir(), reason="a folder of Linux")
@pytest.mark.parametrize("command", ["predict", "demo", "export", "convert", "validate", "import"])
def test_read_only_folders(folder, capsys, command):
    groundtruth = ("--groundtruth", str(folder / "gt.csv"), "--labelmap", LABEL_MAP)
    words = {
        "predict": lambda out: arguments(folder, "--inputs", folder / "list.txt", "--output", out),
        "demo": lambda out: arguments(
            folder, "--input", folder / "first.mp4", "--output", f"{out}.mp4"
        ),
        "export": lambda out: arguments(
            folder, "--format", "torch_export", "--output", f"{out}.pt2"
        ),
        "convert": lambda out: [str(folder / "model.pth"), f"{out}.safetensors"],
        "validate": lambda out: [*groundtruth, "--json", f"{out}.json"],
        "import": lambda out: [
            *(str(folder / "gt.txt"), "--videos", str(folder), "--fps", "10", "--video", "first"),
            *("--output", f"{out}/data.yaml"),
        ],
    }
    out = READ_ONLY / "tubedet-out"
    assert run_command(command, words[command](out)) == 2
    line = told(capsys)
    assert str(out) in line and line.endswith(REASONS), line


@pytest.mark.skipif(not READ_ONLY.is_dir(), reason="a folder of Linux")
def test_one_video_whose_results_cannot_be_written(folder, tmp_path, capsys, monkeypatch):
    process_video = many_videos.process_video

    def process_to_read_only(detector, action_names, job, results, detection):
        results = READ_ONLY if job.name == "second" else results
        return process_video(detector, action_names, job, results, detection)

    monkeypatch.setattr(many_videos, "process_video", process_to_read_only)
    words = ("--inputs", folder / "list.txt", "--output", tmp_path)
    assert run_command("predict", arguments(folder, *words)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-2].startswith(f"failed: {folder / 'second.mp4'}: ")
    assert any(reason in lines[-2] for reason in REASONS)
    assert lines[-1] == f"1 of 3 videos failed ({tmp_path / 'failed.json'})"
    assert not any("Traceback" in line for line in lines)
    assert [(tmp_path / f"{name}/{name}.csv").is_file() for name in NAMES] == [True, False, True]


def test_the_folder_of_the_videos_disappears(folder, tmp_path, capsys, monkeypatch):
    shutil.copytree(folder, tmp_path / "videos")
    process_video = many_videos.process_video

    def process_and_delete(detector, action_names, job, results, detection):
        record = process_video(detector, action_names, job, results, detection)
        shutil.rmtree(tmp_path / "videos")
        return record

    monkeypatch.setattr(many_videos, "process_video", process_and_delete)
    words = ("--inputs", tmp_path / "videos/list.txt", "--output", tmp_path / "out")
    assert run_command("predict", arguments(folder, *words)) == 1
    lines = capsys.readouterr().err.splitlines()
    for line, name in zip(lines[-3:-1], NAMES[1:]):
        assert line.startswith(f"failed: {tmp_path / 'videos' / name}.mp4: ")
        assert line.endswith("(No such file or directory)")
    assert lines[-1] == f"2 of 3 videos failed ({tmp_path / 'out/failed.json'})"
    assert (tmp_path / "out/first/first.csv").is_file()
