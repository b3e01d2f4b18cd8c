"""What a user says about person boxes."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.inference.person_box_options import PersonBoxOptions
from tubedet.inference.person_boxes import DetectedPersons, FileBoxes, ImageDetector

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"
SMALL = "ssdlite320_mobilenet_v3_large"
ROI = "configs/quick_schedules/RoI_toy.yaml"


@pytest.fixture
def boxes(tmp_path):
    path = tmp_path / "film.csv"
    path.write_text("film,1,0.0,0.0,0.25,0.5,,0.75\n")
    return path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "boxes", "detector": "torchvision:x"}, "both tell who is where; give one"),
        ({"format": "mot"}, "--boxes-format, .* need --boxes"),
        ({"start_second": 900.0}, "--boxes-start-second need --boxes"),
        ({"weights": "w.pth"}, "--person-weights are those of --person-detector"),
        ({"detector": "d.onnx", "weights": "w.pth"}, "d.onnx has its weights; leave out"),
        ({"detector": "my.yaml"}, "--person-detector my.yaml needs --person-weights FILE$"),
        ({"detector": f"torchvision:{SMALL}"}, "FILE; DEFAULT downloads torchvision's$"),
        ({"detector": "torchvision:x"}, "torchvision has no detection model 'x'; it has faster"),
    ],
)
def test_fault_options_that_do_not_go_together_are_refused(options, message, boxes):
    if "path" in options:
        options = {**options, "path": boxes}
    with pytest.raises(UserError, match=message):
        PersonBoxOptions(**options).check(1)


def test_fault_a_file_of_one_video_is_not_for_several(tmp_path):
    path = tmp_path / "det.txt"
    path.write_text("1,-1,1,1,9,9,0.25,-1,-1,-1\n")
    PersonBoxOptions(path=path).check(1)
    with pytest.raises(
        UserError, match="det.txt has the boxes of one video, and there are 2: give"
    ):
        PersonBoxOptions(path=path).check(2)


def test_every_kind_of_source_is_built(boxes, tmp_path):
    cfg = load_config(CONFIG, ["MODEL.DEVICE", "cpu"])
    assert isinstance(PersonBoxOptions(path=boxes).build(cfg), FileBoxes)
    assert isinstance(PersonBoxOptions(path=boxes.parent).build(cfg), FileBoxes)
    small = f"torchvision:{SMALL}"
    assert isinstance(PersonBoxOptions(detector=small).build(cfg), ImageDetector)
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "w.pth")
    own = PersonBoxOptions(detector=CONFIG, weights=str(tmp_path / "w.pth"))
    assert isinstance(own.build(cfg, "cpu"), DetectedPersons)
    with pytest.raises(UserError, match="this model needs boxes itself"):
        PersonBoxOptions(detector=ROI, weights=str(tmp_path / "w.pth")).build(cfg, "cpu")


def test_results_of_other_boxes_are_told_apart_by_content(boxes):
    first = PersonBoxOptions(path=boxes).settings()
    assert first["files"][0].startswith("sha256 ")
    copy = boxes.with_name("copy.csv")
    copy.write_bytes(boxes.read_bytes())
    assert PersonBoxOptions(path=copy).settings() == first
    copy.write_text("film,1,0.0,0.0,0.25,0.5,,0.5\n")
    assert PersonBoxOptions(path=copy).settings() != first
    folder = PersonBoxOptions(path=boxes.parent).settings()["files"]
    assert [Path(line.split()[0]).name for line in folder[0]] == ["copy.csv", "film.csv"]
    named = PersonBoxOptions(detector="torchvision:x", weights="DEFAULT").settings()
    assert named["files"] == ["torchvision:x", "DEFAULT"]
