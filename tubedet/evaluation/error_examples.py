"""Single errors to look at: confident false positives and missed ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .detection_ap import best_groundtruth, paired_iou
from .error_kinds import DETECTION_KINDS, IOU_THRESHOLD, NEAR_IOU, FrameErrors
from .frame_matches import FrameMatches

_NAMED_ACTIONS = 4


@dataclass(frozen=True)
class Counterpart:
    """The box that an example is compared with.

    Attributes:
        box: x1, y1, x2, y2 as fractions of the frame.
        text: Whose it is, and how much it overlaps.
    """

    box: tuple[float, float, float, float]
    text: str


@dataclass(frozen=True)
class Example:
    """One box to look at.

    Attributes:
        video_id: Its video.
        timestamp: Its key frame: seconds, or the frame number in a data set of tubes.
        class_name: The action that was detected or missed.
        box: x1, y1, x2, y2 as fractions of the frame.
        score: Of the false positive, or the best one a missed box was found with (0: never).
        remark: What is wrong.
        is_groundtruth: The box was annotated and missed; otherwise it was detected.
        nearest: Of a detection the nearest annotated person, of a missed box the nearest detection,
            one of its action if any overlaps; None where the key frame has none.
    """

    video_id: str
    timestamp: float
    class_name: str
    box: tuple[float, float, float, float]
    score: float
    remark: str
    is_groundtruth: bool = False
    nearest: Counterpart | None = None


def confident_false_positives(
    matches: FrameMatches, errors: FrameErrors, num_examples: int, per_class: int
) -> list[Example]:
    """Return the false positives with the highest scores.

    Args:
        matches: Of one file of predictions.
        errors: What is wrong with its detections.
        num_examples: At most so many.
        per_class: At most so many of one class.
    """
    false = np.flatnonzero(~matches.true_positive)
    order = false[np.argsort(-matches.scores[false], kind="stable")]
    chosen = _varied(order, matches.classes, num_examples, per_class)
    table, boxes = matches.predictions, matches.boxes
    return [
        Example(
            video_id=table.videos[table.video_index[row]],
            timestamp=float(table.timestamps[row]),
            class_name=matches.class_names[matches.classes[column]],
            box=_corners(boxes[column]),
            score=float(table.scores[row]),
            remark=DETECTION_KINDS[errors.kinds[column]],
            nearest=_nearest_person(matches, column),
        )
        for column, row in zip(chosen.tolist(), matches.rows[chosen].tolist())
    ]


def missed_groundtruth(
    matches: FrameMatches,
    errors: FrameErrors,
    leading: np.ndarray,
    num_examples: int,
    per_class: int,
) -> list[Example]:
    """Return ground truth that no leading detection finds, first what no detection finds.

    Args:
        matches: Of one file of predictions.
        errors: What is wrong with its detections.
        leading: The best detections of each class.
        num_examples: At most so many.
        per_class: At most so many of one class.
    """
    found_gt = errors.found_gt
    found = np.flatnonzero(found_gt >= 0)
    is_missed = ~np.isin(np.arange(len(matches.gt_rows)), found_gt[leading])
    best_score = np.full(len(matches.gt_rows), -np.inf)
    np.maximum.at(best_score, found_gt[found], matches.scores[found])
    # Of those never found the large ones first: they are the harder to excuse.
    order = np.lexsort((-box_areas(matches.gt_boxes), best_score))
    order = order[is_missed[order]]
    chosen = _varied(order, matches.gt_classes, num_examples, per_class)
    _, any_iou = best_groundtruth(
        matches.gt_boxes[chosen], matches.gt_keys[chosen], matches.boxes, matches.keys
    )
    table = matches.groundtruth
    examples = []
    for column, row, iou in zip(chosen.tolist(), matches.gt_rows[chosen].tolist(), any_iou):
        if best_score[column] > -np.inf:
            remark = f"found with score {best_score[column]:.3g} only"
        elif iou >= IOU_THRESHOLD:
            remark = "the person was found, this action was not"
        else:
            remark = "the person was not found"
        examples.append(
            Example(
                video_id=table.videos[table.video_index[row]],
                timestamp=float(table.timestamps[row]),
                class_name=matches.class_names[matches.gt_classes[column]],
                box=_corners(table.boxes[row]),
                score=float(max(best_score[column], 0.0)),
                remark=remark,
                is_groundtruth=True,
                nearest=_nearest_detection(matches, column),
            )
        )
    return examples


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """Return the share of the frame that boxes cover.

    Args:
        boxes: (N, 4) float, XYXY as fractions of the frame.

    Returns:
        np.ndarray: (N,) float64 in [0, 1].
    """
    inside = boxes.clip(0.0, 1.0)
    return (inside[:, 2:] - inside[:, :2]).clip(min=0.0).prod(axis=1)


def _nearest_person(matches: FrameMatches, column: int) -> Counterpart | None:
    """Return the person who does the action and is overlapped, else the nearest one of all."""
    others = np.flatnonzero(matches.gt_keys == matches.keys[column])
    box, boxes = matches.boxes[column], matches.gt_boxes
    place, iou = _nearest(box, boxes[others], matches.gt_classes[others] == matches.classes[column])
    if place is None:
        return None
    same = others[(boxes[others] == boxes[others[place]]).all(axis=1)]
    actions = _listed(matches.class_names[label] for label in matches.gt_classes[same].tolist())
    return Counterpart(_corners(boxes[others[place]]), f"{actions} (IoU {iou:.2f})")


def _nearest_detection(matches: FrameMatches, column: int) -> Counterpart | None:
    """Return the nearest detection of the action that overlaps, else of any action."""
    others = np.flatnonzero(matches.keys == matches.gt_keys[column])
    boxes = matches.boxes
    same = matches.classes[others] == matches.gt_classes[column]
    place, iou = _nearest(matches.gt_boxes[column], boxes[others], same)
    if place is None:
        return None
    other = others[place]
    name, score = matches.class_names[matches.classes[other]], matches.scores[other]
    return Counterpart(_corners(boxes[other]), f"{name} {score:.3f} (IoU {iou:.2f})")


def _nearest(
    box: np.ndarray, others: np.ndarray, preferred: np.ndarray
) -> tuple[int | None, float]:
    """Return the place of the nearest box, None if there is none, and the IoU with it.

    Args:
        box: (4,) XYXY.
        others: (N, 4) XYXY.
        preferred: (N,) bool, those that come first if they overlap by ``NEAR_IOU``.
    """
    if len(others) == 0:
        return None, 0.0
    ious = paired_iou(np.repeat(box[None], len(others), axis=0), others)
    distances = np.hypot(*((others[:, :2] + others[:, 2:] - box[:2] - box[2:]) / 2).T)
    place = int(np.lexsort((distances, -ious, ~(preferred & (ious >= NEAR_IOU))))[0])
    return place, float(ious[place])


def _listed(names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    more = len(distinct) - _NAMED_ACTIONS
    return ", ".join(distinct[:_NAMED_ACTIONS]) + (f" and {more} more" if more > 0 else "")


def _varied(order: np.ndarray, classes: np.ndarray, limit: int, per_class: int) -> np.ndarray:
    """Return the first ``limit`` of ``order`` with at most ``per_class`` of each class."""
    chosen: list[int] = []
    taken: Counter[int] = Counter()
    for column in order.tolist():
        if len(chosen) == limit:
            break
        if taken[classes[column]] < per_class:
            taken[classes[column]] += 1
            chosen.append(column)
    return np.array(chosen, dtype=np.int64)


def _corners(box: np.ndarray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2
