"""Where average precision is lost: by class, person size, crowd, kind of error, and by example."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from .confusion import ConfusionMatrix, confusion_matrix
from .error_examples import Example, box_areas, confident_false_positives, missed_groundtruth
from .error_kinds import (
    DETECTION_KINDS,
    FrameErrors,
    average_precision_gains,
    find_errors,
    leading_detections,
)
from .frame_matches import FrameMatches, mean_over_classes

# Shares of the frame's area.
_SIZE_EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, np.inf)
_MOST_PEOPLE = 6


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
        gains: Kind of error to the mean AP gained without it, see
            :func:`~tubedet.evaluation.error_kinds.average_precision_gains`.
        num_missed: Ground-truth boxes that are neither found nor nearly so.
        confusion: Which actions are taken for which others; None: not asked for.
    """

    classes: list[ClassFigures]
    curves: dict[str, tuple[np.ndarray, np.ndarray]]
    by_size: list[Slice]
    by_people: list[Slice]
    error_kinds: dict[str, int]
    false_positives: list[Example]
    missed: list[Example]
    gains: dict[str, float] = field(default_factory=dict)
    num_missed: int = 0
    confusion: ConfusionMatrix | None = None


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
    errors, leading = find_errors(matches), leading_detections(matches)
    curves = matches.curves()
    if examples_per_class is None:
        examples_per_class = max(4, math.ceil(num_examples / max(1, len(curves))))
    limits = num_examples, examples_per_class
    return ErrorAnalysis(
        classes=_class_figures(matches, curves),
        curves={matches.class_names[index]: curve for index, curve in curves.items()},
        by_size=_slices_by_size(matches, errors.found_gt),
        by_people=_slices_by_people(matches),
        error_kinds=_error_kinds(errors, leading),
        false_positives=confident_false_positives(matches, errors, *limits),
        missed=missed_groundtruth(matches, errors, leading, *limits),
        gains=average_precision_gains(matches, errors),
        num_missed=int(np.count_nonzero(errors.missed)),
        confusion=confusion_matrix(matches, leading),
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
    gt_sizes = box_areas(matches.gt_boxes)
    sizes = box_areas(matches.boxes)
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


def _error_kinds(errors: FrameErrors, leading: np.ndarray) -> dict[str, int]:
    counts = Counter(errors.kinds[leading].tolist())
    return {kind: counts[place] for place, kind in enumerate(DETECTION_KINDS)}
