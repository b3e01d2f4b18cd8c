"""Whatever happens to a file of person boxes: boxes that make sense, or an error of one line."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from json_damage import damaged_bytes, damaged_json, fuzz

from tubedet.data import AnnotationError
from tubedet.data.person_boxes import read_person_boxes

FILES = Path(__file__).parents[2] / "fixtures/box_files"
MOT = b"1,5,100,50,40,80,0.5,-1,-1,-1\n2,5,110,50,40,80,1,-1,-1,-1\n2,9,10,5,20,40,-1,-1,-1,-1\n"
LINE = {
    "video": "clip",
    "time": 1.5,
    "width": 200,
    "height": 100,
    "persons": [{"id": 3, "box": [20, 10, 120, 50], "score": 0.75, "actions": []}],
}
CONTENTS = {
    "slowfast-csv": (FILES / "slowfast_predicted.csv").read_bytes(),
    "ava-csv": b"a,902,0.1,0.2,0.3,0.4,12,0.9\na,903,0.1,0.2,0.3,0.4,12,0.25\n",
    "ava-groundtruth": (FILES / "groundtruth.csv").read_bytes(),
    "mmaction2-pickle": (FILES / "mmaction_proposals.pkl").read_bytes(),
    "mot": MOT,
    "json-lines": (json.dumps(LINE) + "\n").encode() * 2,
    "coco": (FILES / "alphaction_annotations.json").read_bytes(),
}


def check(path, format):
    for name in (format, ""):
        try:
            boxes = read_person_boxes(path, name)
        except AnnotationError as error:
            assert str(error).startswith(str(path)) and "\n" not in str(error)
        else:
            assert np.isfinite(boxes.boxes).all() and np.isfinite(boxes.times).all()
            assert ((boxes.scores >= 0) & (boxes.scores <= 1)).all()
            assert (boxes.boxes[:, :2] < boxes.boxes[:, 2:]).all()
            assert (boxes.times >= 0).all() and len(boxes.actions) == len(boxes)


@pytest.mark.parametrize("format", CONTENTS)
@fuzz
@given(data=st.data())
def test_damaged_bytes(tmp_path, format, data):
    content = data.draw(damaged_bytes(CONTENTS[format]))
    content = data.draw(st.sampled_from((content, content.replace(b"0", b"nan", 1))))
    path = tmp_path / "boxes"
    path.write_bytes(content)
    check(path, format)


@fuzz
@given(data=st.data())
def test_damaged_coco(tmp_path, data):
    content = data.draw(damaged_json(json.loads(CONTENTS["coco"])))
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(content))
    check(path, "coco")


@fuzz
@given(data=st.data())
def test_damaged_json_lines(tmp_path, data):
    path = tmp_path / "boxes.jsonl"
    path.write_text(json.dumps(data.draw(damaged_json(LINE))) + "\n")
    check(path, "json-lines")
