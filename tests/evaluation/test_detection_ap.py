"""Matching of boxes and average precision."""

import numpy as np
import pytest

from tubedet.evaluation import detection_ap
from tubedet.evaluation.detection_ap import (
    average_precision,
    best_groundtruth,
    match_detections,
    match_pairs,
    overlapping_pairs,
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


def test_equal_scores_keep_their_order_if_asked():
    hits = np.arange(40) < 20  # long enough for a sort that does not keep it
    precision, _ = precision_recall(np.full(40, 0.5), hits, num_groundtruth=20, stable=True)
    assert precision[:20].tolist() == [1.0] * 20
    assert precision[-1] == 0.5


def test_average_precision_under_the_points_as_they_are():
    scores = np.array([0.5, 0.9, 0.8, 0.6, 0.7])
    hits = np.array([True, True, False, True, False])
    curve = precision_recall(scores, hits, num_groundtruth=4)
    # Precision 1 at recall 0, then 1, 1/2, 1/3, 2/4, 3/5; recall rises at the 1st, 4th and 5th.
    area = 0.25 * ((1 + 1) / 2 + (1 / 3 + 2 / 4) / 2 + (2 / 4 + 3 / 5) / 2)
    assert average_precision(*curve, envelope=False) == pytest.approx(area, abs=1e-15)
    assert average_precision(np.empty(0), np.empty(0), envelope=False) == 0


@pytest.mark.parametrize("pairs_per_step", [1, 1 << 20])
def test_overlapping_pairs_of_a_group(monkeypatch, pairs_per_step):
    monkeypatch.setattr(detection_ap, "_PAIRS_PER_STEP", pairs_per_step)
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 2], [0, 0, 4, 4], [0, 0, 4, 4]])
    others = np.array([[0, 0, 4, 2], [0, 0, 4, 4], [0, 0, 4, 4], [0, 0, 4, 1]])
    groups, other_groups = np.array([5, 5, 6, 7]), np.array([5, 5, 6, 5])
    rows, other_rows, ious = overlapping_pairs(boxes, groups, others, other_groups, 0.5)
    assert list(zip(rows.tolist(), other_rows.tolist(), ious.tolist())) == [
        (0, 0, 0.5),
        (0, 1, 1.0),
        (1, 0, 1.0),
        (1, 1, 0.5),
        (1, 3, 0.5),
        (2, 2, 1.0),
    ]
    none = overlapping_pairs(boxes, groups, others[:0], other_groups[:0], 0.5)
    assert [len(column) for column in none] == [0, 0, 0]


def test_match_pairs_among_all_or_among_free_ground_truth():
    # Detection 0 prefers ground truth 0 on a tie; 1 prefers 0, then 2; 2 has 0 only.
    detections, groundtruth = np.array([0, 0, 1, 1, 2]), np.array([1, 0, 2, 0, 0])
    pairs = detections, groundtruth, np.array([0.9, 0.9, 0.6, 0.8, 0.7])
    assert match_pairs(pairs, 4, free_only=True).tolist() == [True, True, False, False]
    assert match_pairs(pairs, 4, free_only=False).tolist() == [True, False, False, False]


def test_match_pairs_equals_match_detections_among_all():
    rng = np.random.default_rng(0)
    boxes, gt_boxes = (np.sort(rng.integers(0, 6, (n, 2, 2)), axis=1) for n in (300, 90))
    boxes, gt_boxes = boxes.reshape(-1, 4), gt_boxes.reshape(-1, 4)
    groups, gt_groups = rng.integers(0, 6, 300), rng.integers(0, 6, 90)
    expected = match_detections(boxes, groups, gt_boxes, gt_groups)
    pairs = overlapping_pairs(boxes, groups, gt_boxes, gt_groups, 0.5)
    assert expected.any()
    assert match_pairs(pairs, 300, free_only=False).tolist() == expected.tolist()
    assert match_pairs(pairs, 300, free_only=True).sum() > expected.sum()
