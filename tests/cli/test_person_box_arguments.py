"""predict and demo on given person boxes."""

import csv
import json

import pytest
import torch
from detectron2.modeling import build_model
from numbered_videos import write_video

from tubedet.cli.running import run_command
from tubedet.engine import load_config

ROI = "configs/quick_schedules/RoI_toy.yaml"
TUBER = "configs/quick_schedules/TubeR_toy.yaml"


@pytest.fixture
def folder(tmp_path):
    """Two videos of two seconds, a list of them, their boxes, and random weights."""
    for name in ("one", "two"):
        write_video(tmp_path / f"{name}.mp4", 60)
    (tmp_path / "empty.csv").write_text("\n")
    (tmp_path / "list.txt").write_text("one.mp4\ntwo.mp4\n")
    (tmp_path / "boxes.csv").write_text(
        "one,0,0.0,0.0,0.25,0.5,,0.875\none,1,0.5,0.0,0.75,0.5,,0.875\n"
        "two,1,0.25,0.25,0.5,0.75,,0.875\ntwo,1,0.25,0.25,0.5,0.5,,0.25\n"
    )
    torch.manual_seed(1)
    model = build_model(load_config(ROI, ["MODEL.DEVICE", "cpu"]))
    torch.save({"model": model.state_dict()}, tmp_path / "w.pth")
    return tmp_path


def run(command, folder, *options, config=ROI):
    words = ["--config-file", config, *options]
    words += [] if command == "predict" else ["--opts"]
    weights = ["MODEL.WEIGHTS", folder / "w.pth"] if config == ROI else []
    return run_command(command, [str(w) for w in (*words, "MODEL.DEVICE", "cpu", *weights)])


def boxes_of(path):
    with open(path) as stream:
        return {(float(row[1]), *map(float, row[2:6])) for row in csv.reader(stream)}


def test_predict_takes_the_boxes_of_a_file(folder):
    options = ["--inputs", folder / "list.txt", "--output", folder / "out"]
    assert run("predict", folder, *options, "--boxes", folder / "boxes.csv") == 0
    assert boxes_of(folder / "out/one/one.csv") == {(0, 0, 0, 0.25, 0.5), (1, 0.5, 0, 0.75, 0.5)}
    assert boxes_of(folder / "out/two/two.csv") == {(1, 0.25, 0.25, 0.5, 0.75)}
    # Results of other boxes are not mixed with these.
    (folder / "boxes.csv").write_text("one,0,0.0,0.0,0.25,0.5,,0.9\ntwo,0,0.0,0.0,0.5,0.5,,0.9\n")
    assert run("predict", folder, *options, "--boxes", folder / "boxes.csv") == 2


def test_fault_a_video_without_boxes_fails_alone(folder, capsys):
    (folder / "boxes.csv").write_text("one,0,0.0,0.0,0.25,0.5,,0.875\n")
    options = ["--inputs", folder / "list.txt", "--output", folder / "out"]
    assert run("predict", folder, *options, "--boxes", folder / "boxes.csv") == 1
    failed = json.loads((folder / "out/failed.json").read_text())
    assert list(failed) == [str(folder / "two.mp4")]
    assert "no boxes of the video 'two'; the file has 'one'" in failed[str(folder / "two.mp4")]


def test_demo_takes_boxes_too(folder):
    options = ["--video-input", folder / "two.mp4", "--json", folder / "two.jsonl"]
    assert run("demo", folder, *options, "--boxes", folder / "boxes.csv") == 0
    lines = [json.loads(line) for line in (folder / "two.jsonl").read_text().splitlines()]
    boxes = [[person["box"] for person in line["persons"]] for line in lines]
    assert boxes == [[], [[16, 12, 32, 36]]]


@pytest.mark.parametrize(
    ("options", "config", "message"),
    [
        ((), ROI, "RoIActionDetector needs the boxes of persons"),
        (("--boxes", "boxes.csv"), TUBER, "TubeR finds persons itself"),
        (("--boxes", "none.csv"), ROI, "none.csv"),
        (("--boxes", "list.txt"), ROI, "list.txt: no known format of person boxes; name it"),
        (("--boxes", "empty.csv"), ROI, "empty.csv is empty: there are no person boxes in it"),
        (("--person-detector", "torchvision:x"), ROI, "torchvision has no detection model 'x'"),
    ],
)
def test_fault_wrong_boxes_are_one_line(folder, capsys, options, config, message):
    options = [folder / word if "." in word else word for word in options]
    wanted = ["--video-input", folder / "one.mp4", "--json", folder / "one.jsonl"]
    assert run("demo", folder, *wanted, *options, config=config) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert ": error: " in error and message in error
