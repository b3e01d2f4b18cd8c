"""Person boxes for the key frames of a data set."""

import numpy as np
import pytest
from detectron2.structures import BoxMode

from tubedet.data import AnnotationError
from tubedet.data.person_boxes.proposals import with_proposals
from tubedet.data.person_boxes.table import BoxRows

RECORD = {"video_id": "a", "fps": 10.0, "start_second": 900.0}


def make(*rows, in_seconds=True, in_pixels=False):
    collected = BoxRows("boxes.csv")
    for video, time, box, score in rows:
        collected.add(video, time, box, score)
    return collected.finish("test", in_seconds=in_seconds, in_pixels=in_pixels)


BOXES = make(
    ("a", 902, (0.1, 0.2, 0.5, 0.6), 0.8),
    ("a", 902, (0.0, 0.0, 0.5, 0.5), 0.79),
    ("a", 903, (0.0, 0.0, 0.5, 0.5), 0.9),
    ("a", 903, (0.0, 0.0, 0.5, 0.7), 0.95),
    ("a", 903, (0.0, 0.0, 0.5, 0.8), 0.85),
)


def proposals(records, boxes=BOXES, threshold=0.8, topk=100, **options):
    found, coverage = with_proposals(records, boxes, threshold=threshold, topk=topk, **options)
    return [(r["proposal_boxes"].tolist(), r["proposal_scores"].tolist()) for r in found], coverage


def test_boxes_come_to_their_key_frames_from_the_threshold_on():
    records = [{**RECORD, "timestamp": t} for t in (902.0, 903.0, 904.0)]
    found, coverage = proposals(records)
    assert found[0] == ([[0.1, 0.2, 0.5, 0.6]], [0.8])
    assert found[1][1] == [0.9, 0.95, 0.85]
    assert found[2] == ([], [])  # it stays, with none
    assert (coverage.num_key_frames, coverage.num_covered, coverage.num_boxes) == (3, 2, 4)
    assert str(coverage) == (
        "person boxes from boxes.csv (test): 4 boxes, 2 of 3 key frames (66.7 %) have one"
    )
    assert records[0] == {**RECORD, "timestamp": 902.0}  # not changed


def test_the_best_boxes_of_a_key_frame_stay_in_the_order_of_the_file():
    found, _ = proposals([{**RECORD, "timestamp": 903.0}], topk=2)
    assert found[0][1] == [0.9, 0.95]


def test_boxes_are_pixels_where_the_size_of_the_video_is_known():
    records = [
        {**RECORD, "timestamp": 902.0, "width": 200, "height": 100},
        {**RECORD, "timestamp": 902.0},
    ]
    (sized, unsized), _ = with_proposals(records, BOXES, threshold=0.8, topk=10)
    assert sized["proposal_bbox_mode"] == BoxMode.XYXY_ABS
    np.testing.assert_allclose(sized["proposal_boxes"], [[20, 20, 100, 60]])
    assert unsized["proposal_bbox_mode"] == BoxMode.XYXY_REL


def test_frames_of_a_file_are_found_by_number_or_time():
    boxes = make(
        ("", 1, (0, 0, 10, 10), 1.0),
        ("", 21, (0, 0, 20, 10), 1.0),
        in_seconds=False,
        in_pixels=True,
    )
    records = [
        {**RECORD, "timestamp": 902.0, "width": 200, "height": 100},
        {**RECORD, "timestamp": 5.0, "frame_number": 1},
    ]
    (by_time, by_number), _ = with_proposals(records, boxes, threshold=0.8, topk=10)
    assert by_time["proposal_boxes"].tolist() == [[0, 0, 20, 10]]
    assert by_number["proposal_boxes"].tolist() == [[0, 0, 10, 10]]
    assert by_time["proposal_bbox_mode"] == by_number["proposal_bbox_mode"] == BoxMode.XYXY_ABS


def test_the_best_box_stays_by_the_rule_of_mmaction2():
    boxes = make(("a", 902, (0, 0, 0.5, 0.5), 0.5), ("a", 902, (0, 0, 0.5, 0.6), 0.25))
    records = [{**RECORD, "timestamp": t} for t in (902.0, 903.0)]
    found, _ = proposals(records, boxes, threshold=0.9, keep_best=True)
    assert found == [([[0, 0, 0.5, 0.5]], [0.5]), ([[0, 0, 1, 1]], [1.0])]


def test_videos_without_boxes_are_named():
    records = [{**RECORD, "timestamp": 902.0, "video_id": v} for v in ("a", "b", "b", "c")]
    _, coverage = proposals(records)
    assert coverage.missing_videos == ("b", "c")
    assert str(coverage).endswith("have one; no boxes of 2 videos (b, c, ...)")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"video_id": "b"}, "boxes.csv: no boxes of the video 'b'; the file has 'a': rename"),
        (
            {"timestamp": 2.0},
            "no box of any of the 1 key frames with a score from 0.8 on; its seconds are 902 to "
            "903, those of the data set 2 to 2",
        ),
    ],
)
def test_fault_a_file_without_any_box_of_the_data_set_is_refused(record, message):
    with pytest.raises(AnnotationError, match=message):
        proposals([{**RECORD, "timestamp": 902.0, **record}])
