"""Average precision of box detections in the manner of PASCAL VOC, in vectorised numpy.

Notation: N detections, M ground-truth boxes. A *group* is an integer that stands for one (image,
class) pair: only boxes of the same group are ever compared.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_PAIRS_PER_STEP = 1 << 16


def match_detections(
    boxes: np.ndarray,
    groups: np.ndarray,
    gt_boxes: np.ndarray,
    gt_groups: np.ndarray,
    iou_threshold: float = 0.5,
) -> np.ndarray:
    """Label detections as true or false positives by the rule of PASCAL VOC.

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
    """Find the ground-truth box of the same group that overlaps each detection most.

    Args:
        boxes: (N, 4) float, x1, y1, x2, y2.
        groups: (N,) int.
        gt_boxes: (M, 4) float, x1, y1, x2, y2 in the same unit as ``boxes``.
        gt_groups: (M,) int.

    Returns:
        tuple[np.ndarray, np.ndarray]: (N,) int64 row of ``gt_boxes``, the first on a tie, -1 where
        the group has none; and (N,) float64 IoU with it, 0 where there is none.
    """
    best_gt = np.full(len(boxes), -1, dtype=np.int64)
    best_iou = np.zeros(len(boxes), dtype=np.float64)
    for rows, pair_counts, candidates in _candidates_in_steps(groups, gt_groups):
        first_pairs = np.cumsum(pair_counts) - pair_counts
        ious = paired_iou(np.repeat(boxes[rows], pair_counts, axis=0), gt_boxes[candidates])
        best_iou[rows] = np.maximum.reduceat(ious, first_pairs)
        is_best = np.flatnonzero(ious == np.repeat(best_iou[rows], pair_counts))
        best_pairs = is_best[np.searchsorted(is_best, first_pairs)]
        best_gt[rows] = candidates[best_pairs]
    return best_gt, best_iou


def overlapping_pairs(
    boxes: np.ndarray,
    groups: np.ndarray,
    others: np.ndarray,
    other_groups: np.ndarray,
    least_iou: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find all pairs of a box and another one of the same group that overlap enough.

    Args:
        boxes: (N, 4) float, x1, y1, x2, y2.
        groups: (N,) int.
        others: (M, 4) float, x1, y1, x2, y2 in the same unit as ``boxes``.
        other_groups: (M,) int.
        least_iou: Least IoU of a pair, inclusive.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: (P,) int64 rows of ``boxes``, (P,) int64 rows of
        ``others`` and (P,) float64 their IoU.
    """
    pairs = [(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0))]
    for rows, pair_counts, candidates in _candidates_in_steps(groups, other_groups):
        rows = np.repeat(rows, pair_counts)
        ious = paired_iou(boxes[rows], others[candidates])
        kept = ious >= least_iou
        pairs.append((rows[kept], candidates[kept], ious[kept]))
    rows, other_rows, ious = (np.concatenate(column) for column in zip(*pairs))
    return rows, other_rows, ious


def match_pairs(
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray], num_detections: int, *, free_only: bool
) -> np.ndarray:
    """Label detections as true or false positives from their overlaps with the ground truth.

    Args:
        pairs: (P,) int detection, (P,) int ground truth and (P,) float overlap of those that may
            be matched; detections that compete for a ground truth are numbered in the order of
            descending score.
        num_detections: N.
        free_only: A detection is compared with the ground truth that no earlier one has taken.
            Otherwise its best ground truth, the first one on a tie, must be free, as in
            :func:`match_detections`.

    Returns:
        np.ndarray: (N,) bool, True for a true positive.
    """
    detections, groundtruth, overlaps = pairs
    order = np.lexsort((groundtruth, -overlaps, detections))
    if not free_only:
        order = order[np.flatnonzero(np.diff(detections[order], prepend=-1))]
    true_positive = np.zeros(num_detections, dtype=bool)
    taken = set()
    for detection, gt in zip(detections[order].tolist(), groundtruth[order].tolist()):
        if gt not in taken and not true_positive[detection]:
            taken.add(gt)
            true_positive[detection] = True
    return true_positive


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


def rank_by_score(scores: np.ndarray, *, stable: bool = False) -> np.ndarray:
    """Return the order of descending score.

    Args:
        scores: (N,) float.
        stable: Equal scores stay in the given order; otherwise they are ranked as by the official
            AVA evaluation, see :func:`precision_recall`.

    Returns:
        np.ndarray: (N,) int64 places in ``scores``.
    """
    return np.argsort(-scores, kind="stable") if stable else np.argsort(scores)[::-1]


def precision_recall(
    scores: np.ndarray, true_positive: np.ndarray, num_groundtruth: int, *, stable: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of one class after each detection, best score first.

    By default equal scores are ranked as ``np.argsort(scores)[::-1]`` ranks them: what the official
    AVA evaluation does. That sort is not stable: the AP of tied scores may differ between machines.

    Args:
        scores: (N,) float, of all images.
        true_positive: (N,) bool.
        num_groundtruth: Number of ground-truth boxes of the class, at least 1.
        stable: Rank equal scores in the given order.

    Returns:
        tuple[np.ndarray, np.ndarray]: precision and recall, (N,) float64 each, in [0, 1].

    Raises:
        ValueError: ``num_groundtruth`` is below 1: recall is not defined.
    """
    if num_groundtruth < 1:
        raise ValueError(f"recall needs at least one ground-truth box, got {num_groundtruth}")
    hits = np.cumsum(true_positive[rank_by_score(scores, stable=stable)])
    return hits / np.arange(1, len(hits) + 1), hits / num_groundtruth


def average_precision(precision: np.ndarray, recall: np.ndarray, *, envelope: bool = True) -> float:
    """Area under a precision-recall curve, over all points.

    By default that of its monotone envelope, the definition of PASCAL VOC since 2010: precision at
    a recall is the highest precision at that or any higher recall, and 0 beyond the last recall
    reached.

    Args:
        precision: (N,) float, in the order of descending score.
        recall: (N,) float, not decreasing.
        envelope: False: the area under the straight lines that join the points as they are, from
            precision 1 at recall 0 on.

    Returns:
        float: AP in [0, 1]; 0 without detections.
    """
    steps = np.diff(recall, prepend=0.0)
    if envelope:
        return float(np.sum(steps * np.maximum.accumulate(precision[::-1])[::-1]))
    return float(np.sum(steps * (precision + np.r_[1.0, precision[:-1]]) / 2))


def _candidates_in_steps(
    groups: np.ndarray, other_groups: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Which rows share their group with which other rows, in steps that bound the memory.

    Yields:
        (K,) rows, of those that have any; (K,) how many others each has, at least 1; and those
        others one after the other, ascending for each row.
    """
    by_group = np.argsort(other_groups, kind="stable")
    sorted_groups = other_groups[by_group]
    starts = np.searchsorted(sorted_groups, groups, side="left")
    counts = np.searchsorted(sorted_groups, groups, side="right") - starts
    rows_with_any = np.flatnonzero(counts)
    steps = np.cumsum(counts[rows_with_any]) // _PAIRS_PER_STEP
    for rows in np.split(rows_with_any, np.flatnonzero(np.diff(steps)) + 1):
        if len(rows) == 0:
            continue
        pair_counts = counts[rows]
        first_pairs = np.cumsum(pair_counts) - pair_counts
        within = np.arange(pair_counts.sum()) - np.repeat(first_pairs, pair_counts)
        yield rows, pair_counts, by_group[np.repeat(starts[rows], pair_counts) + within]
