"""Csvs with a box per row."""

import json
from pathlib import Path

import numpy as np
import pytest

from tubedet.data import AnnotationError
from tubedet.data.person_boxes import read_person_boxes

FILES = Path(__file__).parents[2] / "fixtures/box_files"
EXPECTED = json.loads((FILES / "expected.json").read_text())


def by_key_frame(boxes):
    """As the published reader tells it: key frame -> boxes with their labels but -1."""
    found = {}
    for video in sorted(boxes.videos):
        rows = boxes.rows_of(video)
        for time, box, actions in zip(
            boxes.times[rows], boxes.boxes[rows].tolist(), boxes.actions[rows]
        ):
            found.setdefault(f"{video},{int(time):04d}", []).append([box, list(actions)])
    return found


def expected(name, without=()):
    return {
        key: [[box, [label for label in labels if label != -1]] for box, labels in boxes]
        for key, boxes in EXPECTED[name]["boxes"].items()
        if key not in without
    }


def test_boxes_of_slowfast_are_those_of_its_own_reader():
    boxes = read_person_boxes(FILES / "slowfast_predicted.csv")
    assert boxes.format == "slowfast-csv" and boxes.in_seconds and not boxes.in_pixels
    assert by_key_frame(boxes.with_scores_from(0.8)) == expected("test_0.8")
    # While a training goes on, SlowFast evaluates every fourth second.
    strict = boxes.with_scores_from(0.9)
    subset = strict.select(strict.times % 4 == 0)
    assert by_key_frame(subset) == expected("test_0.9_val_subset")


def test_key_frames_and_their_frames_are_those_of_slowfast():
    boxes = read_person_boxes(FILES / "slowfast_predicted.csv").with_scores_from(0.8)
    moments = sorted({(boxes.videos[v], int(t)) for v, t in zip(boxes.video_index, boxes.times)})
    found = [[video, second, (second - 900) * 30] for video, second in moments]
    assert found == EXPECTED["test_0.8"]["keyframes"]


def test_annotated_and_predicted_boxes_of_one_place_are_one_box_with_all_labels(tmp_path):
    annotated = (FILES / "groundtruth.csv").read_text().splitlines()
    rows = [",".join([*line.split(",")[:7], "1"]) for line in annotated]
    path = tmp_path / "both.csv"
    path.write_text("\n".join(rows) + "\n" + (FILES / "slowfast_predicted.csv").read_text())
    boxes = read_person_boxes(path).with_scores_from(0.8)
    assert by_key_frame(boxes) == expected("train_gt_plus_pred_0.8")
    assert len(boxes) == EXPECTED["train_gt_plus_pred_0.8"]["unique_boxes"] == 11
    assert sum(map(len, boxes.actions)) == EXPECTED["train_gt_plus_pred_0.8"]["annotations"] == 15


def test_equal_boxes_are_one_with_the_highest_score(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("a,0902,0.10,0.2,0.3,0.4,,0.9\na,902,0.1,0.2,0.3,0.4,5,0.95\n")
    boxes = read_person_boxes(path)
    assert len(boxes) == 1
    assert boxes.scores.tolist() == [0.95] and boxes.actions == ((5,),)


def test_ground_truth_has_the_score_one_and_its_actions(tmp_path):
    boxes = read_person_boxes(FILES / "groundtruth.csv")
    assert boxes.format == "ava-groundtruth" and set(boxes.scores) == {1.0}
    assert boxes.actions == (
        (13,),
        (32, 17),
        (31, 9, 43),
        (37, 28),
        (75, 34, 38),
        (54,),
        (80, 31, 70),
    )
    assert list(boxes.remarks) == [
        "column 8 has whole numbers: persons, not scores; all scores are 1"
    ]
    path = tmp_path / "seven.csv"
    path.write_text("a,902,0.1,0.2,0.3,0.4,7\n")
    assert read_person_boxes(path).format == "ava-groundtruth"


def test_predictions_have_the_highest_score_of_their_actions(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text(
        "clip,0,0.1,0.2,0.3,0.4,1,0.25\nclip,0,0.1,0.2,0.3,0.4,2,0.75\n"
        "clip,1.5,0.5,0.2,0.9,0.4,1,0.5\n"
    )
    boxes = read_person_boxes(path)
    assert boxes.format == "ava-csv"
    assert boxes.times.tolist() == [0.0, 1.5] and boxes.scores.tolist() == [0.75, 0.5]
    np.testing.assert_array_equal(boxes.boxes[1], [0.5, 0.2, 0.9, 0.4])


def test_a_named_format_decides_what_column_8_is(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("a,902,0.1,0.2,0.3,0.4,7,0\na,902,0.1,0.2,0.3,0.5,7,1\n")
    assert read_person_boxes(path).scores.tolist() == [1, 1]
    assert read_person_boxes(path, "ava-csv").scores.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,902,0.1,0.2,0.3,0.4,,1.5", r":2: the score 1.5, expected 0 to 1"),
        ("a,902,0.1,0.2,0.3,0.4,,nan", r":2: 'nan' in column 8: expected a finite number"),
        ("a,902,0.1,0.2,0.3,0.4,0.9", r":2: 7 columns, expected 8 \(video,second"),
        ("a,902,10,20,30,40,,0.9", r":2: the box 10, 20, 30, 40; expected fractions .*divide x by"),
        ("a,-1,0.1,0.2,0.3,0.4,,0.9", r":2: the time -1, expected a second from 0 on"),
        (",902,0.1,0.2,0.3,0.4,,0.9", r":2: no video in column 1"),
        ("a,902,0.1,0.2,0.3,0.4,sit,0.9", r":2: 'sit' in column 7 \(label\): expected a whole"),
        ("a,902,0.1,0.2,0.3,0.4,-5,0.9", r":2: the action -5, expected 1 to"),
    ],
)
def test_fault_a_wrong_row_is_named(tmp_path, row, message):
    path = tmp_path / "boxes.csv"
    path.write_text("a,902,0.1,0.2,0.3,0.4,,0.9\n" + row + "\n")
    with pytest.raises(AnnotationError, match=message) as caught:
        read_person_boxes(path, "slowfast-csv")
    assert str(caught.value).startswith(f"{path}:2: ") and "\n" not in str(caught.value)


def test_boxes_without_an_area_are_counted(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("a,902,0.3,0.2,0.3,0.4,,0.9\na,903,0.1,0.2,0.3,0.4,,0.9\n")
    boxes = read_person_boxes(path)
    assert len(boxes) == 1 and dict(boxes.remarks) == {"boxes without an area: left out": 1}
    assert boxes.moments == {("a", 902.0), ("a", 903.0)}
