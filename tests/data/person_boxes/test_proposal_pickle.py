"""Dense proposals of mmaction2."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from tubedet.data import AnnotationError
from tubedet.data.person_boxes import read_person_boxes
from tubedet.data.person_boxes.proposals import with_proposals

FILES = Path(__file__).parents[2] / "fixtures/box_files"
EXPECTED = json.loads((FILES / "expected.json").read_text())["mmaction_0.9"]


def test_boxes_and_scores_are_read_and_the_best_one_stays():
    boxes = read_person_boxes(FILES / "mmaction_proposals.pkl")
    assert boxes.format == "mmaction2-pickle" and boxes.in_seconds and len(boxes) == 7
    kept = boxes.with_scores_from(0.9, keep_best=True)
    for key, expected in EXPECTED["kept"].items():
        video, second = key.split(",")
        rows = kept.rows_at(video, float(second))
        found = np.column_stack([kept.boxes[rows], kept.scores[rows]])
        np.testing.assert_allclose(found, expected, atol=1e-7)
    assert len(kept) == sum(map(len, EXPECTED["kept"].values())) == 4


def test_a_key_frame_that_the_file_lacks_is_one_box():
    boxes = read_person_boxes(FILES / "mmaction_proposals.pkl")
    record = {"video_id": "0f39OWEqJ24", "fps": 30.0, "start_second": 900.0}
    records = [{**record, "timestamp": 902.0}, {**record, "timestamp": 1000.0}]
    found, coverage = with_proposals(records, boxes, threshold=0.9, topk=100, keep_best=True)
    assert found[0]["proposal_scores"].tolist() == [0.2]
    row = [*found[1]["proposal_boxes"].tolist()[0], *found[1]["proposal_scores"]]
    assert [row] == EXPECTED["missing key"]
    assert (coverage.num_covered, coverage.num_boxes) == (1, 1)


def test_boxes_without_scores_have_the_score_one(tmp_path):
    path = tmp_path / "boxes.pkl"
    path.write_bytes(pickle.dumps({"a,b,0902": np.array([[0.1, 0.2, 0.3, 0.4]])}))
    boxes = read_person_boxes(path)
    assert boxes.videos == ("a,b",) and boxes.scores.tolist() == [1.0]
    assert boxes.boxes.tolist() == [[0.1, 0.2, 0.3, 0.4]]


class _Command:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_nothing_in_the_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "boxes.pkl"
    path.write_bytes(pickle.dumps({"a,0902": _Command()}))
    with pytest.raises(AnnotationError, match="refused, it asks for 'posix.system'"):
        read_person_boxes(path)
    assert not (tmp_path / "executed").exists()
    path.write_bytes(pickle.dumps({"a,0902": {1, 2}}))  # sets are not among the allowed names
    with pytest.raises(AnnotationError, match=str(path)):
        read_person_boxes(path, "mmaction2-pickle")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds a list, expected a dict"),
        ({"a": np.zeros((1, 5))}, r"\['a'\]: expected a key like 'video,0902'"),
        ({"a,0902": [0.1]}, r"\['a,0902'\]: expected an array of numbers"),
        ({"a,0902": np.zeros((1, 3))}, r"an array \(1, 3\), expected \(n, 4\) or \(n, 5\)"),
        ({"a,0902": np.zeros((1001, 4))}, "1001 boxes, at most 1000 are expected"),
        ({"a,0902": np.full((1, 4), 50.0)}, "expected boxes as fractions of the frame"),
        ({"a,0902": np.array([[0, 0, 1, 1, 1.5]])}, "a score beyond 0 and 1"),
    ],
)
def test_fault_other_content_is_named(tmp_path, content, message):
    path = tmp_path / "boxes.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(AnnotationError, match=message):
        read_person_boxes(path)
