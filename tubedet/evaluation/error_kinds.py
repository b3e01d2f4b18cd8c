"""What is wrong with each detection, and the AP that one kind of error costs.

The kinds are those of TIDE (Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection
Errors", ECCV 2020, https://github.com/dbolya/tide), with one difference: a person may do several
actions, so a second detection of one of them is a duplicate, and no wrong action because the person
does another one too.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from .detection_ap import best_groundtruth
from .frame_matches import FrameMatches, mean_over_classes

IOU_THRESHOLD = 0.5
# A box that overlaps a person at least this much is about that person, however badly it fits.
NEAR_IOU = 0.1

CORRECT, DUPLICATE, WRONG_ACTION, INEXACT_BOX, NEITHER, NOBODY, MISSED = (
    "correct",
    "second detection of the same person and action",
    "a person, but not this action",
    "box does not fit the person",
    "box does not fit, and not this action",
    "nobody there",
    "never detected, nor nearly so",
)
DETECTION_KINDS = (CORRECT, DUPLICATE, WRONG_ACTION, INEXACT_BOX, NEITHER, NOBODY)
# Kind of error to its name in TIDE.
TIDE_NAMES = {
    WRONG_ACTION: "classification",
    INEXACT_BOX: "localisation",
    NEITHER: "both",
    DUPLICATE: "duplicate",
    NOBODY: "background",
    MISSED: "missed",
}


@dataclass(frozen=True)
class FrameErrors:
    """What is right or wrong with N detections.

    Attributes:
        kinds: (N,) int, places in ``DETECTION_KINDS``.
        found_gt: (N,) int, the ground truth of its own class that a detection overlaps most and by
            half, else -1; whether or not another one was first.
        targets: (N,) int, the ground truth that it would find if its kind of error were corrected,
            else -1. Set for ``WRONG_ACTION`` and ``INEXACT_BOX`` where no other detection finds it.
        missed: (M,) bool, ground truth that is neither found nor a target.
    """

    kinds: np.ndarray
    found_gt: np.ndarray
    targets: np.ndarray
    missed: np.ndarray

    def are(self, kind: str) -> np.ndarray:
        """Return which detections are of a kind.

        Args:
            kind: One of ``DETECTION_KINDS``.

        Returns:
            np.ndarray: (N,) bool.
        """
        return self.kinds == DETECTION_KINDS.index(kind)


def find_errors(matches: FrameMatches) -> FrameErrors:
    """Tell what is right or wrong with each detection.

    Args:
        matches: Detections, ground truth and their matches at IoU 0.5.

    Returns:
        FrameErrors: of all detections.
    """
    num_classes = len(matches.class_names)
    boxes, gt_boxes = matches.boxes, matches.gt_boxes
    own_gt, own_iou = best_groundtruth(
        boxes,
        matches.keys * num_classes + matches.classes,
        gt_boxes,
        matches.gt_keys * num_classes + matches.gt_classes,
    )
    found_gt = np.where(own_iou >= IOU_THRESHOLD, own_gt, -1)
    _, person_iou = best_groundtruth(boxes, matches.keys, gt_boxes, matches.gt_keys)
    conditions = [
        matches.true_positive,
        found_gt >= 0,
        own_iou >= NEAR_IOU,
        person_iou >= IOU_THRESHOLD,
        person_iou >= NEAR_IOU,
    ]
    names = [CORRECT, DUPLICATE, INEXACT_BOX, WRONG_ACTION, NEITHER]
    kinds = np.select(
        conditions, [DETECTION_KINDS.index(n) for n in names], DETECTION_KINDS.index(NOBODY)
    )

    is_found = np.zeros(len(matches.gt_rows), dtype=bool)
    is_found[found_gt[matches.true_positive]] = True
    targets = np.full(len(boxes), -1, dtype=np.int64)
    inexact = np.flatnonzero(kinds == DETECTION_KINDS.index(INEXACT_BOX))
    targets[inexact] = np.where(is_found[own_gt[inexact]], -1, own_gt[inexact])
    # The actions of a person have one box: the first one that no detection finds.
    wrong = np.flatnonzero(kinds == DETECTION_KINDS.index(WRONG_ACTION))
    open_gt = np.flatnonzero(~is_found)
    best, iou = best_groundtruth(
        boxes[wrong], matches.keys[wrong], gt_boxes[open_gt], matches.gt_keys[open_gt]
    )
    is_open = (best >= 0) & (iou == person_iou[wrong])
    targets[wrong[is_open]] = open_gt[best[is_open]]
    missed = ~is_found
    missed[targets[targets >= 0]] = False
    return FrameErrors(kinds, found_gt, targets, missed)


def average_precision_gains(matches: FrameMatches, errors: FrameErrors) -> dict[str, float]:
    """Return what mean AP would gain if all errors of one kind were corrected.

    A wrong action or an inexact box becomes right where no other detection finds that ground
    truth, the most confident one of several; the rest of its kind, and every duplicate, detection
    of nobody or of both faults is taken away. What was missed is taken out of the ground truth; a
    class of which nothing else is left then has AP 1.

    Args:
        matches: Detections, ground truth and their matches at IoU 0.5.
        errors: Of :func:`find_errors`.

    Returns:
        dict: each kind of ``TIDE_NAMES`` to the gain in [0, 1]; NaN without ground truth. The
        gains do not add up: a correction shows all the more once other errors are gone.
    """
    before = matches.average_precisions()
    gains = {}
    for kind in TIDE_NAMES:
        if kind == MISSED:
            after = matches.average_precisions(gt_kept=~errors.missed)
            after[np.isnan(after) & ~np.isnan(before)] = 1.0
        else:
            after = _aps_without(kind, matches, errors)
        # Precision may fall where a detection moves to another class.
        gain = mean_over_classes(after) - mean_over_classes(before)
        gains[kind] = gain if np.isnan(gain) else max(0.0, gain)
    return gains


def leading_detections(matches: FrameMatches) -> np.ndarray:
    """Return the best detections of each class, as many as it has ground-truth boxes.

    Args:
        matches: Of one file of predictions.

    Returns:
        np.ndarray: int, places among the N detections.
    """
    order = np.lexsort((-matches.scores, matches.classes))
    classes = matches.classes[order]
    rank = np.arange(len(order)) - np.searchsorted(classes, classes)
    return order[rank < matches.gt_counts[classes]]


def _aps_without(kind: str, matches: FrameMatches, errors: FrameErrors) -> np.ndarray:
    of_kind = errors.are(kind)
    candidates = np.flatnonzero(of_kind & (errors.targets >= 0))
    candidates = candidates[np.argsort(-matches.scores[candidates], kind="stable")]
    targets, first = np.unique(errors.targets[candidates], return_index=True)
    corrected = candidates[first]
    kept, true_positive, classes = ~of_kind, matches.true_positive.copy(), matches.classes.copy()
    kept[corrected] = true_positive[corrected] = True
    classes[corrected] = matches.gt_classes[targets]
    fixed = dataclasses.replace(matches, classes=classes, true_positive=true_positive)
    return fixed.average_precisions(kept)
