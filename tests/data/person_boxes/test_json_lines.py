"""The json lines of tubedet as person boxes."""

import json

import pytest
import torch
from detectron2.structures import Boxes, Instances

from tubedet.data import AnnotationError
from tubedet.data.person_boxes import read_person_boxes
from tubedet.inference.video_detector import KeyFrameResult
from tubedet.inference.writers.json_lines import JsonLinesWriter

LINE = {
    "video": "clip",
    "time": 1.5,
    "width": 200,
    "height": 100,
    "persons": [{"id": 3, "box": [20, 10, 120, 50], "score": 0.75, "actions": []}],
}


def test_what_the_writer_writes_is_read(tmp_path):
    persons = Instances(
        (100, 200),
        pred_boxes=Boxes([[20, 10, 120, 50], [0, 0, 10, 10]]),
        scores=torch.tensor([0.75, 0.5]),
        action_scores=torch.tensor([[0.25], [0.125]]),
        person_ids=torch.tensor([3, 4]),
    )
    with JsonLinesWriter(tmp_path / "clip.jsonl", "clip", ["walk"]) as writer:
        writer.write(KeyFrameResult(0, 0.0, persons), persons[:0])
        writer.write(KeyFrameResult(1, 1.5, persons), persons)
    boxes = read_person_boxes(tmp_path / "clip.jsonl")
    assert boxes.format == "json-lines" and boxes.in_seconds and boxes.has_tracks
    assert boxes.boxes.tolist() == [[0.1, 0.1, 0.6, 0.5], [0, 0, 0.05, 0.1]]
    assert boxes.scores.tolist() == [0.75, 0.5] and boxes.track_ids.tolist() == [3, 4]
    assert boxes.moments == {("clip", 0.0), ("clip", 1.5)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"persons": None}, "has no persons"),
        ({"width": 0}, "no time from 0 on, or no size of a frame"),
        ({"persons": [{"box": [1, 2, 3], "score": 1}]}, r"box is \[1, 2, 3\], expected 4 numbers"),
        ({"persons": [{"box": [1, 2, 3, 4], "score": 2}]}, "the score 2, expected 0 to 1"),
    ],
)
def test_fault_a_wrong_line_is_named(tmp_path, change, message):
    path = tmp_path / "clip.jsonl"
    path.write_text(json.dumps(LINE) + "\n" + json.dumps({**LINE, **change}) + "\n")
    with pytest.raises(AnnotationError, match=message) as caught:
        read_person_boxes(path)
    assert str(caught.value).startswith(f"{path}:2: ")
