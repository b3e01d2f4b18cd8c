"""Where average precision is lost: by class, person size, crowd, kind of error, and by example."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from .detection_ap import best_groundtruth
from .frame_matches import FrameMatches, mean_over_classes

IOU_THRESHOLD = 0.5
# A box that overlaps a person at least this much is about that person, however badly it fits.
_NEAR_IOU = 0.1
# Shares of the frame's area.
_SIZE_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, np.inf)
_MOST_PEOPLE = 6

CORRECT, DUPLICATE, WRONG_ACTION, INEXACT_BOX, NOBODY = (
    "correct",
    "second detection of the same person and action",
    "a person, but not this action",
    "box does not fit the person",
    "nobody there",
)


@dataclass(frozen=True)
class ClassFigures:
    """One class: its name, AP in [0, 1], counts, and the highest recall any threshold reaches."""

    name: str
    average_precision: float
    num_groundtruth: int
    num_detections: int
    best_recall: float


@dataclass(frozen=True)
class Slice:
    """A part of the ground truth.

    Attributes:
        label: What is in it.
        mean_ap: Mean AP over the classes that have ground truth in it; NaN if none has.
        num_classes: Number of these classes.
        num_groundtruth: Ground-truth boxes in it.
    """

    label: str
    mean_ap: float
    num_classes: int
    num_groundtruth: int


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
    """

    video_id: str
    timestamp: float
    class_name: str
    box: tuple[float, float, float, float]
    score: float
    remark: str


@dataclass(frozen=True)
class ErrorAnalysis:
    """Everything the report shows of one prediction file.

    Attributes:
        classes: The classes with ground truth.
        curves: Class name to (precision, recall) after each detection, best score first.
        by_size: Slices by the area of the person's box.
        by_people: Slices by the number of persons in the key frame.
        error_kinds: Kind to number, among the leading detections of each class, as many as it has
            ground-truth boxes (Hoiem et al., Diagnosing Error in Object Detectors, 2012).
        false_positives: The most confident ones.
        missed: Ground truth that none of the leading detections found; first what no detection
            found, then by ascending score.
    """

    classes: list[ClassFigures]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]
    by_size: list[Slice]
    by_people: list[Slice]
    error_kinds: dict[str, int]
    false_positives: list[Example]
    missed: list[Example]


def analyse_errors(
    matches: FrameMatches, *, num_examples: int = 24, examples_per_class: int | None = None
) -> ErrorAnalysis:
    """Analyse the detections of a prediction file.

    Args:
        matches: Detections, ground truth and their matches at IoU 0.5.
        num_examples: False positives and missed boxes to return, of each at most so many.
        examples_per_class: At most so many of them belong to one class; None: 4, or more where
            there are few classes.

    Returns:
        ErrorAnalysis: the figures and examples.
    """
    num_classes = len(matches.class_names)
    best_gt, best_iou = best_groundtruth(
        matches.boxes,
        matches.keys * num_classes + matches.classes,
        matches.gt_boxes,
        matches.gt_keys * num_classes + matches.gt_classes,
    )
    found_gt = np.where(best_iou >= IOU_THRESHOLD, best_gt, -1)
    curves = matches.curves()
    leading = _leading(matches)
    if examples_per_class is None:
        examples_per_class = max(4, math.ceil(num_examples / max(1, len(curves))))
    limits = num_examples, examples_per_class
    return ErrorAnalysis(
        classes=_class_figures(matches, curves),
        curves={matches.class_names[index]: curve for index, curve in curves.items()},
        by_size=_slices_by_size(matches, found_gt),
        by_people=_slices_by_people(matches),
        error_kinds=_error_kinds(matches, found_gt, leading),
        false_positives=_false_positives(matches, found_gt, *limits),
        missed=_missed(matches, found_gt, leading, *limits),
    )


def _class_figures(matches: FrameMatches, curves: dict) -> list[ClassFigures]:
    aps, gt_counts = matches.average_precisions(), matches.gt_counts
    counts = np.bincount(matches.classes, minlength=len(aps))
    return [
        ClassFigures(
            name=matches.class_names[index],
            average_precision=float(aps[index]),
            num_groundtruth=int(gt_counts[index]),
            num_detections=int(counts[index]),
            best_recall=float(recall[-1]) if len(recall) else 0.0,
        )
        for index, (_, recall) in curves.items()
    ]


def _slices_by_size(matches: FrameMatches, found_gt: np.ndarray) -> list[Slice]:
    """As COCO does: detections go with the box they find, else with their own size."""
    gt_sizes = _areas(matches.gt_boxes)
    sizes = _areas(matches.boxes)
    found = found_gt >= 0
    sizes[found] = gt_sizes[found_gt[found]]
    slices = []
    for low, high in zip(_SIZE_EDGES[:-1], _SIZE_EDGES[1:]):
        label = f"{100 * low:g}-{100 * high:g} %" if high < np.inf else f"over {100 * low:g} %"
        kept, gt_kept = ((s >= low) & (s < high) for s in (sizes, gt_sizes))
        slices.append(_slice(matches, label, kept, gt_kept))
    return slices


def _slices_by_people(matches: FrameMatches) -> list[Slice]:
    # A person has one row per action, all with the same box.
    persons = np.unique(np.column_stack([matches.gt_keys, matches.gt_boxes]), axis=0)
    keys, num_people = np.unique(persons[:, 0].astype(np.int64), return_counts=True)

    def people_at(wanted: np.ndarray) -> np.ndarray:
        if len(keys) == 0:
            return np.zeros(len(wanted), dtype=np.int64)
        places = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        return np.where(keys[places] == wanted, num_people[places], 0)

    at_detections, at_gt = people_at(matches.keys), people_at(matches.gt_keys)
    slices = []
    for number in range(1, _MOST_PEOPLE + 1):
        last = number == _MOST_PEOPLE
        kept, gt_kept = (
            (people >= number) if last else (people == number) for people in (at_detections, at_gt)
        )
        slices.append(_slice(matches, f"{number}{' or more' if last else ''}", kept, gt_kept))
    return slices


def _slice(matches: FrameMatches, label: str, kept: np.ndarray, gt_kept: np.ndarray) -> Slice:
    aps = matches.average_precisions(kept, gt_kept)
    num_classes, num_groundtruth = np.count_nonzero(~np.isnan(aps)), np.count_nonzero(gt_kept)
    return Slice(label, mean_over_classes(aps), int(num_classes), int(num_groundtruth))


def _leading(matches: FrameMatches) -> np.ndarray:
    """Return the best detections of each class, as many as it has ground-truth boxes."""
    order = np.lexsort((-matches.scores, matches.classes))
    classes = matches.classes[order]
    rank = np.arange(len(order)) - np.searchsorted(classes, classes)
    return order[rank < matches.gt_counts[classes]]


def _error_kinds(
    matches: FrameMatches, found_gt: np.ndarray, leading: np.ndarray
) -> dict[str, int]:
    counts = Counter(_kinds(matches, found_gt, leading))
    return {k: counts[k] for k in (CORRECT, DUPLICATE, WRONG_ACTION, INEXACT_BOX, NOBODY)}


def _kinds(matches: FrameMatches, found_gt: np.ndarray, columns: np.ndarray) -> list[str]:
    """Return what is right or wrong with some of the detections."""
    _, person_iou = best_groundtruth(
        matches.boxes[columns], matches.keys[columns], matches.gt_boxes, matches.gt_keys
    )
    return np.select(
        [
            matches.true_positive[columns],
            found_gt[columns] >= 0,
            person_iou >= IOU_THRESHOLD,
            person_iou >= _NEAR_IOU,
        ],
        [CORRECT, DUPLICATE, WRONG_ACTION, INEXACT_BOX],
        NOBODY,
    ).tolist()


def _false_positives(
    matches: FrameMatches, found_gt: np.ndarray, num_examples: int, per_class: int
) -> list[Example]:
    false = np.flatnonzero(~matches.true_positive)
    order = false[np.argsort(-matches.scores[false], kind="stable")]
    chosen = _varied(order, matches.classes, num_examples, per_class)
    kinds = _kinds(matches, found_gt, chosen)
    table, scores = matches.predictions, matches.scores
    return [
        Example(
            video_id=table.videos[table.video_index[row]],
            timestamp=float(table.timestamps[row]),
            class_name=matches.class_names[matches.classes[column]],
            box=tuple(table.boxes[row].tolist()),
            score=float(scores[column]),
            remark=kind,
        )
        for column, row, kind in zip(chosen.tolist(), matches.rows[chosen].tolist(), kinds)
    ]


def _missed(
    matches: FrameMatches,
    found_gt: np.ndarray,
    leading: np.ndarray,
    num_examples: int,
    per_class: int,
) -> list[Example]:
    found = np.flatnonzero(found_gt >= 0)
    is_missed = ~np.isin(np.arange(len(matches.gt_rows)), found_gt[leading])
    best_score = np.full(len(matches.gt_rows), -np.inf)
    np.maximum.at(best_score, found_gt[found], matches.scores[found])
    # Of those never found the large ones first: they are the harder to excuse.
    order = np.lexsort((-_areas(matches.gt_boxes), best_score))
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
                box=tuple(table.boxes[row].tolist()),
                score=float(max(best_score[column], 0.0)),
                remark=remark,
            )
        )
    return examples


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


def _areas(boxes: np.ndarray) -> np.ndarray:
    """(N,) share of the frame that boxes cover."""
    inside = boxes.clip(0.0, 1.0)
    return (inside[:, 2:] - inside[:, :2]).clip(min=0.0).prod(axis=1)
