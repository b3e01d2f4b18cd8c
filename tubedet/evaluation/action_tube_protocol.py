"""frame-mAP and video-mAP of action tubes (JHMDB-21, UCF101-24), by the two rules in use."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from tubedet.data.annotations.ava_csv import AVATable
from tubedet.errors import UserError

from .action_tube_groundtruth import ActionTubeGroundtruth
from .comparability import check_comparable
from .detection_ap import average_precision, match_pairs, overlapping_pairs
from .frame_matches import FrameMatches, mean_over_classes
from .tube_linking import link_detections
from .video_ap import DetectedTube, TubeMatches, match_tubes, tube_average_precisions

logger = logging.getLogger(__name__)

FRAME_IOU = 0.5
_STRICTER_IOUS = tuple(percent / 100 for percent in range(50, 100, 5))
# Name of each video-mAP to the least tube IoUs over which it is the mean.
VIDEO_IOUS = {"0.2": (0.2,), "0.5": (0.5,), "0.75": (0.75,), "0.5:0.95": _STRICTER_IOUS}
TUBE_IOUS = sorted({iou for ious in VIDEO_IOUS.values() for iou in ious})


@dataclass(frozen=True)
class ActionTubeProtocol:
    """How boxes and tubes are compared, matched and averaged.

    Attributes:
        inclusive: Box sides and tube lengths count their last pixel and frame too (+1).
        free_only: A detection is compared with the ground truth that is still free; otherwise its
            best ground truth must be free, as in PASCAL VOC.
        envelope: AP is the area under the monotone envelope of precision; otherwise under the
            straight lines between the points of the curve.
        tube_nms: Largest overlap of two tubes of a video and class; None: all tubes count.
    """

    inclusive: bool
    free_only: bool
    envelope: bool
    tube_nms: float | None


TUBE_PROTOCOLS = {
    # Kalogeiton et al., "Action Tubelet Detector" (ICCV 2017) and Li et al., "Actions as Moving
    # Points" (ECCV 2020).
    "act": ActionTubeProtocol(inclusive=True, free_only=True, envelope=False, tube_nms=0.3),
    # MultiSports (Li et al., ICCV 2021), HIT and mmaction2: the rules of PASCAL VOC.
    "voc": ActionTubeProtocol(inclusive=False, free_only=False, envelope=True, tube_nms=None),
}


@dataclass(frozen=True)
class ActionTubeResult:
    """Figures of one prediction file. APs are in [0, 1], NaN for a class without ground truth.

    Attributes:
        protocol: Key of ``TUBE_PROTOCOLS``.
        frame_map: frame-mAP@0.5, the mean over the classes that have ground truth; NaN if none has.
        frame_ap: Class name to its frame-AP@0.5.
        video_map: Key of ``VIDEO_IOUS`` to the video-mAP.
        video_ap: Key of ``VIDEO_IOUS`` to the video-AP of each class name.
        boxes_per_class: Class name to the number of its ground-truth boxes.
        tubes_per_class: Class name to the number of its ground-truth tubes.
        num_frames: Evaluated frames, those without a person included.
        num_detections: Detections that were ranked.
        num_tubes: Tubes linked from them.
    """

    protocol: str
    frame_map: float
    frame_ap: dict[str, float]
    video_map: dict[str, float]
    video_ap: dict[str, dict[str, float]]
    boxes_per_class: dict[str, int]
    tubes_per_class: dict[str, int]
    num_frames: int
    num_detections: int
    num_tubes: int


def get_tube_protocol(name: str) -> ActionTubeProtocol:
    """Look a protocol up by its name.

    Args:
        name: Key of ``TUBE_PROTOCOLS``.

    Returns:
        ActionTubeProtocol: the protocol.

    Raises:
        UserError: There is none of that name.
    """
    if name not in TUBE_PROTOCOLS:
        raise UserError(
            f"unknown protocol {name!r} for action tubes (TEST.TUBE_PROTOCOL), known are "
            f"{', '.join(TUBE_PROTOCOLS)}"
        )
    return TUBE_PROTOCOLS[name]


def evaluate_action_tubes(
    groundtruth: ActionTubeGroundtruth,
    predictions: AVATable,
    protocol: str,
    *,
    same_source: bool = False,
    linked: AVATable | None = None,
) -> ActionTubeResult:
    """Compute frame-mAP@0.5 of detections and video-mAP of the tubes linked from them.

    Where a class has no ground truth, ACT's own script divides by zero; here the class is left out
    of the means under both protocols.

    Args:
        groundtruth: The annotated tubes.
        predictions: Detections: ``timestamps`` are frame numbers, boxes fractions of the frame,
            action id k + 1 is class k. Rows of other videos, frames and classes than those of the
            ground truth do not count; a warning says how many there are.
        protocol: Key of ``TUBE_PROTOCOLS``.
        same_source: The predictions are known to be of these frames: a model has just made them,
            and zeros are its fault.
        linked: The detections that make tubes, like ``predictions``. None: all.

    Returns:
        ActionTubeResult: the figures.

    Raises:
        EvaluationError: Predictions and ground truth have no frame or no class in common, or the
            boxes are pixels.
        UserError: Unknown protocol.
    """
    matches = match_action_tubes(groundtruth, predictions, protocol, same_source=same_source)
    to_link = None
    if linked is not None:
        to_link = match_action_tubes(groundtruth, linked, protocol, same_source=same_source)
    return action_tube_result(matches, groundtruth, protocol, to_link)


def match_action_tubes(
    groundtruth: ActionTubeGroundtruth,
    predictions: AVATable,
    protocol: str,
    *,
    same_source: bool = False,
) -> FrameMatches:
    """Find the detections that count and which of them are true positives at IoU 0.5.

    Arguments and errors are those of :func:`evaluate_action_tubes`.

    Returns:
        FrameMatches: of the frames; the key of a frame is its place among all evaluated ones.
    """
    rules = get_tube_protocol(protocol)
    num_classes = len(groundtruth.action_names)
    table = groundtruth.table()
    places = _FramePlaces(groundtruth)
    gt_keys, keys = places.of_table(table), places.of_table(predictions)
    gt_counted, counted = gt_keys >= 0, keys >= 0
    check_comparable(
        table,
        predictions,
        gt_keys=gt_keys,
        keys=keys,
        gt_counted=gt_counted,
        counted=counted,
        empty_keys=np.arange(places.num_frames),
        class_ids=np.arange(1, num_classes + 1),
        same_source=same_source,
    )
    counted &= (predictions.action_ids >= 1) & (predictions.action_ids <= num_classes)
    if not counted.all():
        logger.warning(
            "%s: %d of %d rows do not count, as they belong to no video, frame or class of %s.",
            predictions.source,
            np.count_nonzero(~counted),
            len(predictions),
            groundtruth.source,
        )

    gt_rows, rows = np.flatnonzero(gt_counted), np.flatnonzero(counted)
    rows = rows[np.lexsort((-predictions.scores[rows], keys[rows]))]
    gt_classes, classes = table.action_ids[gt_rows] - 1, predictions.action_ids[rows] - 1
    last_pixel = np.array([0, 0, rules.inclusive, rules.inclusive], dtype=np.float64)
    pairs = overlapping_pairs(
        _pixel_boxes(predictions, rows, groundtruth) + last_pixel,
        keys[rows] * num_classes + classes,
        _pixel_boxes(table, gt_rows, groundtruth) + last_pixel,
        gt_keys[gt_rows] * num_classes + gt_classes,
        FRAME_IOU,
    )
    return FrameMatches(
        groundtruth=table,
        predictions=predictions,
        class_names=tuple(groundtruth.action_names),
        gt_rows=gt_rows,
        gt_keys=gt_keys[gt_rows],
        gt_classes=gt_classes,
        rows=rows,
        keys=keys[rows],
        classes=classes,
        true_positive=match_pairs(pairs, len(rows), free_only=rules.free_only),
        num_key_frames=places.num_frames,
    )


def frame_average_precisions(
    matches: FrameMatches, protocol: str
) -> tuple[float, dict[str, float]]:
    """Compute frame-mAP@0.5 and, for each class name, frame-AP@0.5.

    Args:
        matches: Of :func:`match_action_tubes` with this protocol.
        protocol: Key of ``TUBE_PROTOCOLS``.
    """
    aps = np.full(len(matches.class_names), np.nan)
    for label, curve in matches.curves().items():
        aps[label] = average_precision(*curve, envelope=get_tube_protocol(protocol).envelope)
    return mean_over_classes(aps), dict(zip(matches.class_names, aps.tolist()))


def action_tube_result(
    matches: FrameMatches,
    groundtruth: ActionTubeGroundtruth,
    protocol: str,
    to_link: FrameMatches | None = None,
) -> ActionTubeResult:
    """Link the detections and compute all figures from what :func:`match_action_tubes` found.

    Args:
        matches: Of :func:`match_action_tubes` with this ground truth and protocol.
        groundtruth: The annotated tubes.
        protocol: Key of ``TUBE_PROTOCOLS``.
        to_link: Likewise of the detections that make tubes. None: all do.

    Returns:
        ActionTubeResult: the figures.
    """
    names = list(groundtruth.action_names)
    frame_map, frame_ap = frame_average_precisions(matches, protocol)
    tubes = _linked(to_link or matches, groundtruth)
    aps_at_iou = tube_average_precisions(
        _matched(tubes, groundtruth, protocol),
        len(names),
        len(TUBE_IOUS),
        envelope=get_tube_protocol(protocol).envelope,
    )
    video_aps = {
        name: aps_at_iou[np.isin(TUBE_IOUS, means_over)].mean(axis=0)
        for name, means_over in VIDEO_IOUS.items()
    }
    gt_labels = [tube.label for tubes in groundtruth.tubes.values() for tube in tubes]
    tube_counts = np.bincount(gt_labels, minlength=len(names)).tolist()
    return ActionTubeResult(
        protocol=protocol,
        frame_map=frame_map,
        frame_ap=frame_ap,
        video_map={name: mean_over_classes(aps) for name, aps in video_aps.items()},
        video_ap={name: dict(zip(names, aps.tolist())) for name, aps in video_aps.items()},
        boxes_per_class=dict(zip(names, matches.gt_counts.tolist())),
        tubes_per_class=dict(zip(names, tube_counts)),
        num_frames=matches.num_key_frames,
        num_detections=len(matches.rows),
        num_tubes=sum(len(tubes_of_video) for tubes_of_video in tubes.values()),
    )


def linked_tube_matches(
    matches: FrameMatches, groundtruth: ActionTubeGroundtruth, protocol: str
) -> dict[int, TubeMatches]:
    """Link the detections and find the tubes that are true positives at each of ``TUBE_IOUS``.

    Args:
        matches: Of :func:`match_action_tubes` with this ground truth and protocol.
        groundtruth: The annotated tubes.
        protocol: Key of ``TUBE_PROTOCOLS``.

    Returns:
        dict: 0-based class to its tubes, for each class with ground truth.
    """
    return _matched(_linked(matches, groundtruth), groundtruth, protocol)


class _FramePlaces:
    """Counts the evaluated frames of all videos through."""

    def __init__(self, groundtruth: ActionTubeGroundtruth):
        lengths = [len(numbers) for numbers in groundtruth.frame_numbers.values()]
        starts = np.cumsum([0, *lengths])
        self.num_frames = int(starts[-1])
        self._videos = {
            video: (int(start), np.asarray(numbers))
            for start, (video, numbers) in zip(starts, groundtruth.frame_numbers.items())
        }

    def of_table(self, table: AVATable) -> np.ndarray:
        """(N,) int place of the frame of each row, -1 if it is not evaluated."""
        places = np.full(len(table), -1, dtype=np.int64)
        by_video = np.argsort(table.video_index, kind="stable")
        ends = np.cumsum(np.bincount(table.video_index, minlength=len(table.videos)))
        for video, rows in zip(table.videos, np.split(by_video, ends[:-1])):
            start, numbers = self._videos.get(video, (0, np.empty(0)))
            if len(numbers) and len(rows):
                found = np.searchsorted(numbers, table.timestamps[rows]).clip(max=len(numbers) - 1)
                known = numbers[found] == table.timestamps[rows]
                places[rows[known]] = start + found[known]
        return places


def _pixel_boxes(
    table: AVATable, rows: np.ndarray, groundtruth: ActionTubeGroundtruth
) -> np.ndarray:
    """(len(rows), 4) float64; the rows are of videos that the ground truth has."""
    codes, row_codes = np.unique(table.video_index[rows], return_inverse=True)
    extents = groundtruth.extents([table.videos[code] for code in codes])
    return table.boxes[rows] * extents[row_codes]


def _matched(
    tubes: dict[str, list[DetectedTube]], groundtruth: ActionTubeGroundtruth, protocol: str
) -> dict[int, TubeMatches]:
    rules = get_tube_protocol(protocol)
    return match_tubes(
        groundtruth.tubes,
        tubes,
        len(groundtruth.action_names),
        TUBE_IOUS,
        inclusive=rules.inclusive,
        free_only=rules.free_only,
        suppression=rules.tube_nms,
    )


def _linked(
    matches: FrameMatches, groundtruth: ActionTubeGroundtruth
) -> dict[str, list[DetectedTube]]:
    """Tubes of each video; successive frames are those that follow in the evaluated ones."""
    table, rows = matches.predictions, matches.rows
    linked = link_detections(
        table.video_index[rows],
        matches.keys,
        matches.classes,
        _pixel_boxes(table, rows, groundtruth),
        matches.scores,
        min_length=groundtruth.min_tube_length,
    )
    frame_numbers = np.concatenate([*groundtruth.frame_numbers.values(), []]).astype(np.int64)
    return {
        table.videos[video]: [
            DetectedTube(tube.label, tube.score, frame_numbers[tube.frames], tube.boxes)
            for tube in tubes
        ]
        for video, tubes in linked.items()
    }
