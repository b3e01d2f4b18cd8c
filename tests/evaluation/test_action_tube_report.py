"""Table and json of the figures of action tubes."""

import json
import math

from tubedet.evaluation.action_tube_protocol import ActionTubeResult
from tubedet.evaluation.action_tube_report import (
    tube_result_table,
    tube_result_to_dict,
    write_tube_result_json,
)

RESULT = ActionTubeResult(
    protocol="voc",
    frame_map=0.375,
    frame_ap={"sit": 0.75, "run": math.nan, "dance": 0.0},
    video_map={"0.2": 0.5, "0.5:0.95": 0.25},
    video_ap={
        "0.2": {"sit": 1.0, "run": math.nan, "dance": 0.0},
        "0.5:0.95": {"sit": 0.5, "run": math.nan, "dance": 0.0},
    },
    boxes_per_class={"sit": 40, "run": 0, "dance": 20},
    tubes_per_class={"sit": 4, "run": 0, "dance": 2},
    num_frames=50,
    num_detections=70,
    num_tubes=5,
)


def test_table_names_the_protocol_beside_every_mean():
    lines = tube_result_table(RESULT).splitlines()
    assert lines[:3] == [
        "frame-mAP@0.5 37.50 % (protocol voc)",
        "video-mAP@0.2 50.00 % (protocol voc)",
        "video-mAP@0.5:0.95 25.00 % (protocol voc)",
    ]
    assert "the 2 of 3 classes" in lines[3]
    assert lines[4].startswith("50 frames, 60 ground-truth boxes in 6 tubes, 70 detections")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[5:]]
    assert cells[0] == ["class", "frame-AP", "video-AP@0.2", "video-AP@0.5:0.95", "boxes", "tubes"]
    assert cells[2:] == [
        ["sit", "75.00", "100.00", "50.00", "40", "4"],
        ["dance", "0.00", "0.00", "0.00", "20", "2"],
    ]


def test_json_has_null_for_what_is_not_defined(tmp_path):
    path = tmp_path / "results.json"
    write_tube_result_json(RESULT, path)
    stored = json.loads(path.read_text())
    assert stored == tube_result_to_dict(RESULT)
    assert stored == {
        "protocol": "voc",
        "unit": "fraction",
        "mAP@0.5IOU": 0.375,
        "per_class": {"sit": 0.75, "run": None, "dance": 0.0},
        "video": {
            "0.2": {"mAP": 0.5, "per_class": {"sit": 1.0, "run": None, "dance": 0.0}},
            "0.5:0.95": {"mAP": 0.25, "per_class": {"sit": 0.5, "run": None, "dance": 0.0}},
        },
    }
