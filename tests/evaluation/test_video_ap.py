"""Overlap, suppression and AP of tubes, by numbers worked out by hand."""

import numpy as np
import pytest

from tubedet.data.annotations.tube_files import ActionTube
from tubedet.evaluation.video_ap import (
    DetectedTube,
    suppress_tubes,
    tube_iou,
    video_average_precisions,
)

BOX = (0, 0, 9, 9)
ACT = {"inclusive": True, "free_only": True, "envelope": False, "suppression": 0.3}
VOC = {"inclusive": False, "free_only": False, "envelope": True, "suppression": None}


def annotated(first, last, box=BOX, label=0):
    frames = np.arange(first, last + 1)
    return ActionTube(label, frames, np.tile(np.float32(box), (len(frames), 1)))


def detected(first, last, score=0.5, box=BOX, label=0):
    tube = annotated(first, last, box, label)
    return DetectedTube(label, score, tube.frames, tube.boxes)


def test_ends_count_or_not():
    half = (0, 0, 9, 4)  # 10 x 5 of 10 x 10 pixels, or 9 x 4 of 9 x 9
    assert tube_iou(annotated(1, 4), annotated(1, 4, half), inclusive=True) == 50 / 100
    assert tube_iou(annotated(1, 4), annotated(1, 4, half), inclusive=False) == 36 / 81
    assert tube_iou(annotated(1, 4), annotated(3, 6), inclusive=True) == pytest.approx(2 / 6)
    assert tube_iou(annotated(1, 4), annotated(3, 6), inclusive=False) == pytest.approx(1 / 5)
    assert tube_iou(annotated(1, 4), annotated(4, 6), inclusive=False) == 0
    assert tube_iou(annotated(1, 4), annotated(5, 6), inclusive=True) == 0
    assert tube_iou(annotated(3, 3), annotated(3, 3), inclusive=False) == 1


def test_boxes_are_averaged_over_common_frames_only():
    tube, other = annotated(1, 3), annotated(1, 3)
    other.boxes[1] += 100
    assert tube_iou(tube, other, inclusive=True) == pytest.approx(2 / 3)
    with_gap = ActionTube(0, np.array([1, 3]), tube.boxes[:2])
    assert tube_iou(tube, with_gap, inclusive=True) == 1
    assert tube_iou(ActionTube(0, np.array([2]), tube.boxes[:1]), with_gap, inclusive=True) == 0


def test_suppression_keeps_the_best_and_what_overlaps_it_little():
    weak, best, apart = detected(1, 9, 0.1), detected(1, 10, 0.9), detected(8, 17, 0.5)
    # best and weak: 9 of 10 frames; best and apart: 3 of 17
    assert suppress_tubes([weak, best, apart], 0.3, inclusive=True) == [best, apart]
    assert suppress_tubes([weak, best, apart], 0.9, inclusive=True) == [best, apart, weak]


def test_average_precision_by_both_rules():
    groundtruth = {"a": [annotated(1, 10)], "b": [annotated(1, 10)], "c": []}
    detections = {
        "a": [detected(1, 10, 0.9), detected(1, 10, 0.7)],  # the second one is a duplicate
        "c": [detected(1, 10, 0.8)],
        "b": [detected(1, 8, 0.6)],  # 8 of 10 frames, 7 of 9 steps
    }
    act = video_average_precisions(groundtruth, detections, 2, [0.5, 0.8, 0.85], **ACT)
    # Without the duplicate: hit, miss, hit; precisions 1, 1/2, 2/3, recalls 1/2, 1/2, 1.
    both = 0.5 * 1 + 0.5 * (1 / 2 + 2 / 3) / 2
    assert act[:, 0] == pytest.approx([both, both, 0.5])
    voc = video_average_precisions(groundtruth, detections, 2, [0.5, 0.75, 0.8], **VOC)
    # Hit, miss, miss, hit; precisions 1, 1/2, 1/3, 2/4.
    both = 0.5 * 1 + 0.5 * 1 / 2
    assert voc[:, 0] == pytest.approx([both, both, 0.5])
    assert np.isnan(act[:, 1]).all() and np.isnan(voc[:, 1]).all()


def test_a_taken_tube_is_left_out_of_the_comparison_or_not():
    groundtruth = {"a": [annotated(1, 10), annotated(1, 8)]}
    # The better one takes the first tube, which is the best of the other one (9/10 against 8/9).
    detections = {"a": [detected(1, 10, 0.9), detected(1, 9, 0.8)]}
    rules = {**ACT, "suppression": None}
    assert video_average_precisions(groundtruth, detections, 1, [0.5], **rules).item() == 1
    rules["free_only"] = False
    assert video_average_precisions(groundtruth, detections, 1, [0.5], **rules).item() == 0.5


def test_only_tubes_of_the_same_class_match():
    groundtruth = {"a": [annotated(1, 10, label=0), annotated(1, 10, label=1)]}
    detections = {"a": [detected(1, 10, label=1)]}
    aps = video_average_precisions(groundtruth, detections, 2, [0.5], **ACT)
    assert aps.tolist() == [[0, 1]]
