"""Matching of boxes and average precision."""

import numpy as np
import pytest

from tubedet.evaluation import detection_ap
from tubedet.evaluation.detection_ap import (
    average_precision,
    best_groundtruth,
    match_detections,
    paired_iou,
    precision_recall,
)


def test_paired_iou_has_no_plus_one_and_no_nan():
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 1, 1], [2, 2, 2, 2]])
    others = np.array([[2, 0, 6, 4], [0, 0, 4, 4], [1, 0, 2, 1], [2, 2, 2, 2]])
    assert paired_iou(boxes, others).tolist() == [1 / 3, 1.0, 0.0, 0.0]


def test_best_groundtruth_stays_in_its_group_and_takes_the_first_of_equals():
    gt_boxes = np.array([[0, 0, 2, 2], [0, 0, 4, 4], [0, 0, 4, 4], [9, 9, 10, 10]], dtype=float)
    gt_groups = np.array([5, 7, 7, 5])
    boxes = np.tile([0.0, 0.0, 4.0, 4.0], (3, 1))
    best, iou = best_groundtruth(boxes, np.array([5, 7, 6]), gt_boxes, gt_groups)
    assert best.tolist() == [0, 1, -1]
    assert iou.tolist() == [0.25, 1.0, 0.0]


def test_taken_best_box_makes_a_false_positive_although_another_fits():
    gt_boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 8]], dtype=float)
    boxes = np.array([[0, 0, 10, 9.5], [0, 0, 10, 9.4]], dtype=float)
    groups = np.zeros(2, dtype=int)
    assert (paired_iou(boxes, gt_boxes[[1, 1]]) > 0.5).all()
    assert match_detections(boxes, groups, gt_boxes, groups).tolist() == [True, False]


def test_threshold_is_inclusive():
    gt = np.array([[0, 0, 1, 1]], dtype=float)
    half = np.array([[0, 0, 0.5, 1]])
    zero = np.zeros(1, dtype=int)
    assert match_detections(half, zero, gt, zero, 0.5).tolist() == [True]
    assert match_detections(half, zero, gt, zero, np.nextafter(0.5, 1)).tolist() == [False]


def test_no_groundtruth_and_no_detections():
    none, zero = np.empty((0, 4)), np.empty(0, dtype=int)
    box, one = np.array([[0, 0, 1, 1.0]]), np.zeros(1, dtype=int)
    assert match_detections(box, one, none, zero).tolist() == [False]
    assert match_detections(none, zero, box, one).tolist() == []


@pytest.mark.parametrize("pairs_per_step", [1, 5, 1 << 20])
def test_matching_equals_plain_loops(monkeypatch, pairs_per_step):
    monkeypatch.setattr(detection_ap, "_PAIRS_PER_STEP", pairs_per_step)
    rng = np.random.default_rng(1)
    corners = rng.integers(0, 4, size=(160, 2))
    all_boxes = np.hstack([corners, corners + rng.integers(2, 5, size=(160, 2))]).astype(float)
    boxes, gt_boxes = all_boxes[:100], all_boxes[100:]
    groups, gt_groups = rng.integers(0, 8, 100), rng.integers(0, 8, 60)

    taken, expected = set(), []
    for box, group in zip(boxes, groups):
        candidates = np.flatnonzero(gt_groups == group)
        ious = [paired_iou(box[None], gt_boxes[[c]])[0] for c in candidates]
        best = int(np.argmax(ious)) if ious else None
        hit = best is not None and ious[best] >= 0.5 and candidates[best] not in taken
        if hit:
            taken.add(candidates[best])
        expected.append(hit)
    assert any(expected)
    assert match_detections(boxes, groups, gt_boxes, gt_groups).tolist() == expected


def test_average_precision_is_the_area_under_the_envelope():
    scores = np.array([0.5, 0.9, 0.8, 0.6, 0.7])
    hits = np.array([True, True, False, True, False])  # by score: T F F T T
    precision, recall = precision_recall(scores, hits, num_groundtruth=4)
    assert precision.tolist() == [1, 1 / 2, 1 / 3, 2 / 4, 3 / 5]
    assert recall.tolist() == [0.25, 0.25, 0.25, 0.5, 0.75]
    assert average_precision(precision, recall) == pytest.approx(0.25 * (1 + 0.6 + 0.6), abs=1e-15)


def test_average_precision_without_detections_is_zero():
    curve = precision_recall(np.empty(0), np.empty(0, dtype=bool), 3)
    assert average_precision(*curve) == 0.0
    with pytest.raises(ValueError, match="at least one ground-truth box"):
        precision_recall(np.empty(0), np.empty(0, dtype=bool), 0)
