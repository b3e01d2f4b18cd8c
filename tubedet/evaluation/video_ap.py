"""Average precision of action tubes: overlap, suppression and matching of tubes in a video."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tubedet.data.annotations.tube_files import ActionTube

from .detection_ap import (
    average_precision,
    match_pairs,
    paired_iou,
    precision_recall,
    rank_by_score,
)


@dataclass(frozen=True)
class DetectedTube:
    """One person doing one action through some frames of a video.

    Attributes:
        label: 0-based class.
        score: Confidence, as a rule the mean over the frames.
        frames: (n,) int, ascending frame numbers.
        boxes: (n, 4) float, x1, y1, x2, y2 in pixels.
    """

    label: int
    score: float
    frames: np.ndarray
    boxes: np.ndarray


def tube_iou(
    tube: ActionTube | DetectedTube, other: ActionTube | DetectedTube, *, inclusive: bool
) -> float:
    """Overlap of two tubes: temporal IoU times the mean IoU of the boxes in the common frames.

    Args:
        tube: One tube; classes do not matter.
        other: The other one, in the same unit.
        inclusive: Count first and last frame and first and last pixel in, as ACT does: lengths and
            extents are one larger than the difference of their ends.

    Returns:
        float: in [0, 1]. Two tubes of the same single frame overlap fully in time, whether or not
        the ends count.
    """
    first, last = max(tube.frames[0], other.frames[0]), min(tube.frames[-1], other.frames[-1])
    if last < first:
        return 0.0
    _, rows, other_rows = np.intersect1d(
        tube.frames, other.frames, assume_unique=True, return_indices=True
    )
    if len(rows) == 0:
        return 0.0
    end_counts = int(inclusive)
    last_pixel = [0, 0, end_counts, end_counts]
    ious = paired_iou(tube.boxes[rows] + last_pixel, other.boxes[other_rows] + last_pixel)
    start, end = min(tube.frames[0], other.frames[0]), max(tube.frames[-1], other.frames[-1])
    union = end - start + end_counts
    temporal_iou = (last - first + end_counts) / union if union else 1.0
    return float(ious.mean() * temporal_iou)


def suppress_tubes(
    tubes: Sequence[DetectedTube], max_iou: float, *, inclusive: bool
) -> list[DetectedTube]:
    """Drop every tube that overlaps a better one too much (non-maximum suppression).

    Args:
        tubes: Of one video and one class.
        max_iou: Largest overlap with a tube that was kept, inclusive.
        inclusive: See :func:`tube_iou`.

    Returns:
        list[DetectedTube]: those kept, best score first.
    """
    kept: list[DetectedTube] = []
    for tube in sorted(tubes, key=lambda tube: -tube.score):
        if all(tube_iou(tube, better, inclusive=inclusive) <= max_iou for better in kept):
            kept.append(tube)
    return kept


@dataclass(frozen=True)
class TubeMatches:
    """The tubes of one class, each labelled as a true or a false positive.

    Attributes:
        videos: n video ids, of the detected tubes, best score first.
        scores: (n,) float.
        true_positive: (K, n) bool, at each of K least tube IoUs.
        gt_videos: Video ids of the annotated tubes.
    """

    videos: list[str]
    scores: np.ndarray
    true_positive: np.ndarray
    gt_videos: list[str]


def match_tubes(
    groundtruth: Mapping[str, Sequence[ActionTube]],
    detections: Mapping[str, Sequence[DetectedTube]],
    num_classes: int,
    thresholds: Sequence[float],
    *,
    inclusive: bool,
    free_only: bool,
    suppression: float | None,
) -> dict[int, TubeMatches]:
    """Find the true positives of each class.

    Args:
        groundtruth: Video id to its annotated tubes.
        detections: Video id to its detected tubes.
        num_classes: A.
        thresholds: K least tube IoUs of a match, inclusive.
        inclusive: See :func:`tube_iou`.
        free_only: See :func:`tubedet.evaluation.detection_ap.match_pairs`.
        suppression: Largest overlap of two detected tubes of one class; None: all count.

    Returns:
        dict: label to its tubes, for each class with ground truth.
    """
    gt_of_class: dict[int, list] = defaultdict(list)
    detections_of_class: dict[int, list] = defaultdict(list)
    for tubes_of, by_class in (
        (groundtruth, gt_of_class),
        (detections, detections_of_class),
    ):
        for video, tubes in tubes_of.items():
            for tube in tubes:
                by_class[tube.label].append((video, tube))

    found = {}
    for label in sorted(label for label in gt_of_class if 0 <= label < num_classes):
        ranked = detections_of_class[label]
        if suppression is not None:
            ranked = _suppressed_by_video(ranked, suppression, inclusive)
        scores = np.array([tube.score for _, tube in ranked], dtype=np.float64)
        order = rank_by_score(scores, stable=True)
        ranked = [ranked[place] for place in order.tolist()]
        pairs = _overlaps(ranked, gt_of_class[label], inclusive)
        true_positive = np.zeros((len(thresholds), len(ranked)), dtype=bool)
        for row, threshold in enumerate(thresholds):
            kept = pairs[2] >= threshold
            true_positive[row] = match_pairs(
                tuple(column[kept] for column in pairs), len(ranked), free_only=free_only
            )
        found[label] = TubeMatches(
            videos=[video for video, _ in ranked],
            scores=scores[order],
            true_positive=true_positive,
            gt_videos=[video for video, _ in gt_of_class[label]],
        )
    return found


def video_average_precisions(
    groundtruth: Mapping[str, Sequence[ActionTube]],
    detections: Mapping[str, Sequence[DetectedTube]],
    num_classes: int,
    thresholds: Sequence[float],
    *,
    inclusive: bool,
    free_only: bool,
    envelope: bool,
    suppression: float | None,
) -> np.ndarray:
    """AP of each class at each least tube IoU.

    Args:
        groundtruth: Video id to its annotated tubes.
        detections: Video id to its detected tubes.
        num_classes: A.
        thresholds: K least tube IoUs of a match, inclusive.
        inclusive: See :func:`tube_iou`.
        free_only: See :func:`tubedet.evaluation.detection_ap.match_pairs`.
        envelope: See :func:`tubedet.evaluation.detection_ap.average_precision`.
        suppression: Largest overlap of two detected tubes of one class; None: all count.

    Returns:
        np.ndarray: (K, A) float64 in [0, 1]; NaN for a class without ground truth.
    """
    matches = match_tubes(
        groundtruth,
        detections,
        num_classes,
        thresholds,
        inclusive=inclusive,
        free_only=free_only,
        suppression=suppression,
    )
    return tube_average_precisions(matches, num_classes, len(thresholds), envelope=envelope)


def tube_average_precisions(
    matches: Mapping[int, TubeMatches], num_classes: int, num_thresholds: int, *, envelope: bool
) -> np.ndarray:
    """AP of each class at each least tube IoU, from what :func:`match_tubes` found.

    Args:
        matches: Label to its tubes.
        num_classes: A.
        num_thresholds: K.
        envelope: See :func:`tubedet.evaluation.detection_ap.average_precision`.

    Returns:
        np.ndarray: (K, A) float64 in [0, 1]; NaN for a class without ground truth.
    """
    aps = np.full((num_thresholds, num_classes), np.nan)
    for label, tubes in matches.items():
        for row, true_positive in enumerate(tubes.true_positive):
            curve = precision_recall(tubes.scores, true_positive, len(tubes.gt_videos), stable=True)
            aps[row, label] = average_precision(*curve, envelope=envelope)
    return aps


def _suppressed_by_video(
    detections: list[tuple[str, DetectedTube]], max_iou: float, inclusive: bool
) -> list[tuple[str, DetectedTube]]:
    of_video = defaultdict(list)
    for video, tube in detections:
        of_video[video].append(tube)
    return [
        (video, tube)
        for video, tubes in of_video.items()
        for tube in suppress_tubes(tubes, max_iou, inclusive=inclusive)
    ]


def _overlaps(
    detections: list[tuple[str, DetectedTube]],
    groundtruth: list[tuple[str, ActionTube]],
    inclusive: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return detection, ground truth and IoU of the pairs of a video, as ``match_pairs`` wants."""
    gt_of_video = defaultdict(list)
    for row, (video, tube) in enumerate(groundtruth):
        gt_of_video[video].append((row, tube))
    pairs = [
        (row, gt_row, tube_iou(tube, gt_tube, inclusive=inclusive))
        for row, (video, tube) in enumerate(detections)
        for gt_row, gt_tube in gt_of_video[video]
    ]
    rows, gt_rows, ious = zip(*pairs) if pairs else ((), (), ())
    return np.array(rows, dtype=np.int64), np.array(gt_rows, dtype=np.int64), np.array(ious)
