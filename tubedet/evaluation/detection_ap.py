"""Average precision of box detections in the manner of PASCAL VOC, in vectorised numpy.

Notation: N detections, M ground-truth boxes. A *group* is an integer that stands for one (image,
class) pair: only boxes of the same group are ever compared.
"""

from __future__ import annotations

import numpy as np

_PAIRS_PER_STEP = 1 << 20


def match_detections(
    boxes: np.ndarray,
    groups: np.ndarray,
    gt_boxes: np.ndarray,
    gt_groups: np.ndarray,
    iou_threshold: float = 0.5,
) -> np.ndarray:
    """Labels detections as true or false positives by the rule of PASCAL VOC.

    A detection is a true positive if its best ground-truth box (highest IoU among ALL boxes of its
    group, the first one on a tie) overlaps by at least ``iou_threshold`` and no earlier detection
    has taken that box. If the best box is taken, the detection is a false positive even where
    another free box would overlap enough, as in the official AVA evaluation (ActivityNet,
    ``per_image_evaluation.py``).

    Args:
        boxes: (N, 4) float, x1, y1, x2, y2; within a group in the order of descending score.
        groups: (N,) int, the group of each detection.
        gt_boxes: (M, 4) float, x1, y1, x2, y2 in the same unit as ``boxes``.
        gt_groups: (M,) int, the group of each ground-truth box.
        iou_threshold: Least IoU of a match, inclusive.

    Returns:
        np.ndarray: (N,) bool, True for a true positive.
    """
    best_gt, best_iou = best_groundtruth(boxes, groups, gt_boxes, gt_groups)
    claims = np.flatnonzero((best_gt >= 0) & (best_iou >= iou_threshold))
    _, first_claims = np.unique(best_gt[claims], return_index=True)
    true_positive = np.zeros(len(boxes), dtype=bool)
    true_positive[claims[first_claims]] = True
    return true_positive


def best_groundtruth(
    boxes: np.ndarray, groups: np.ndarray, gt_boxes: np.ndarray, gt_groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Finds the ground-truth box of the same group that overlaps each detection most.

    Args:
        boxes: (N, 4) float, x1, y1, x2, y2.
        groups: (N,) int.
        gt_boxes: (M, 4) float, x1, y1, x2, y2 in the same unit as ``boxes``.
        gt_groups: (M,) int.

    Returns:
        tuple[np.ndarray, np.ndarray]: (N,) int64 row of ``gt_boxes``, the first on a tie, -1 where
        the group has none; and (N,) float64 IoU with it, 0 where there is none.
    """
    by_group = np.argsort(gt_groups, kind="stable")
    sorted_groups = gt_groups[by_group]
    starts = np.searchsorted(sorted_groups, groups, side="left")
    counts = np.searchsorted(sorted_groups, groups, side="right") - starts
    best_gt = np.full(len(boxes), -1, dtype=np.int64)
    best_iou = np.zeros(len(boxes), dtype=np.float64)
    with_gt = np.flatnonzero(counts)
    # Detections times candidates are laid out as flat pairs, in steps that bound the memory.
    steps = np.cumsum(counts[with_gt]) // _PAIRS_PER_STEP
    for rows in np.split(with_gt, np.flatnonzero(np.diff(steps)) + 1):
        if len(rows) == 0:
            continue
        pair_counts = counts[rows]
        first_pairs = np.cumsum(pair_counts) - pair_counts
        within = np.arange(pair_counts.sum()) - np.repeat(first_pairs, pair_counts)
        candidates = by_group[np.repeat(starts[rows], pair_counts) + within]
        ious = paired_iou(np.repeat(boxes[rows], pair_counts, axis=0), gt_boxes[candidates])
        best_iou[rows] = np.maximum.reduceat(ious, first_pairs)
        is_best = np.flatnonzero(ious == np.repeat(best_iou[rows], pair_counts))
        best_pairs = is_best[np.searchsorted(is_best, first_pairs)]
        best_gt[rows] = candidates[best_pairs]
    return best_gt, best_iou


def paired_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes with their partner, without the +1 of inclusive pixels.

    Args:
        boxes: (P, 4) float, x1, y1, x2, y2.
        others: (P, 4) float, x1, y1, x2, y2 in the same unit.

    Returns:
        np.ndarray: (P,) float64; 0 where the union has no area.
    """
    boxes, others = (np.asarray(b, dtype=np.float64) for b in (boxes, others))
    low = np.maximum(boxes[:, :2], others[:, :2])
    high = np.minimum(boxes[:, 2:], others[:, 2:])
    intersection = np.maximum(high - low, 0.0).prod(axis=1)
    areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, others)]
    union = areas[0] + areas[1] - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def precision_recall(
    scores: np.ndarray, true_positive: np.ndarray, num_groundtruth: int
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of one class after each detection, best score first.

    Equal scores are ranked as ``np.argsort(scores)[::-1]`` ranks them: what the official AVA
    evaluation does. That sort is not stable, so the AP of tied scores may differ between machines.

    Args:
        scores: (N,) float, of all images.
        true_positive: (N,) bool.
        num_groundtruth: Number of ground-truth boxes of the class, at least 1.

    Returns:
        tuple[np.ndarray, np.ndarray]: precision and recall, (N,) float64 each, in [0, 1].

    Raises:
        ValueError: ``num_groundtruth`` is below 1: recall is not defined.
    """
    if num_groundtruth < 1:
        raise ValueError(f"recall needs at least one ground-truth box, got {num_groundtruth}")
    hits = np.cumsum(true_positive[np.argsort(scores)[::-1]])
    return hits / np.arange(1, len(hits) + 1), hits / num_groundtruth


def average_precision(precision: np.ndarray, recall: np.ndarray) -> float:
    """Area under the monotone envelope of a precision-recall curve, over all points.

    The definition of PASCAL VOC since 2010: precision at a recall is the highest precision at that
    or any higher recall, and 0 beyond the last recall reached.

    Args:
        precision: (N,) float, in the order of descending score.
        recall: (N,) float, not decreasing.

    Returns:
        float: AP in [0, 1]; 0 without detections.
    """
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))
