"""Tables and json."""

import json
import math

from tubedet.evaluation.ava_protocol import AVAResult
from tubedet.evaluation.ava_report import (
    result_table,
    result_to_dict,
    write_result_json,
)

RESULT = AVAResult(
    protocol="official",
    mean_ap=0.375,
    per_class={"sit": 0.75, "run": math.nan, "dance": 0.0},
    groundtruth_per_class={"sit": 4, "run": 0, "dance": 2},
    num_key_frames=5,
    num_groundtruth=6,
    num_detections=70,
)


def test_table_names_protocol_and_totals():
    lines = result_table(RESULT).splitlines()
    assert "37.50 % (protocol official)" in lines[0]
    assert "2 of 3 classes" in lines[0]
    assert lines[1].startswith("5 key frames, 6 ground-truth boxes")
    assert "70 detections" in lines[1]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[4:]]
    assert cells == [["sit", "75.00", "4"], ["dance", "0.00", "2"]]


def test_json_has_null_for_what_is_not_defined(tmp_path):
    path = tmp_path / "results.json"
    write_result_json(RESULT, path)
    stored = json.loads(path.read_text())
    assert stored == result_to_dict(RESULT)
    assert stored == {
        "protocol": "official",
        "unit": "fraction",
        "mAP@0.5IOU": 0.375,
        "per_class": {"sit": 0.75, "run": None, "dance": 0.0},
    }
    assert list(stored["per_class"]) == ["sit", "run", "dance"]
