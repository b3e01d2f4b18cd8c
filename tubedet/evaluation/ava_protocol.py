"""frame-mAP@0.5 of AVA, as the official evaluation script has computed it since 2018."""

from __future__ import annotations

import heapq
import logging
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from tubedet.data.annotations.ava_csv import (
    AnnotationError,
    AVATable,
)
from tubedet.errors import UserError

from .comparability import check_comparable
from .detection_ap import match_detections
from .frame_matches import FrameMatches, mean_over_classes

logger = logging.getLogger(__name__)

IOU_THRESHOLD = 0.5


@dataclass(frozen=True)
class AVAProtocol:
    """One revision of the official script (ActivityNet, ``Evaluation/get_ava_performance.py``).

    Attributes:
        capacity: The best so many detections of a key frame count, over all classes, and the
            reader ranks them. None: all count, and the core ranks those of each class.
        ava_kinetics: The format and rules of 2020: timestamps may have decimals, there is no list
            of excluded key frames, and detections count only on key frames the ground truth lists,
            if need be by a two-column row. Before, detections counted everywhere but on the
            excluded key frames.
    """

    capacity: int | None
    ava_kinetics: bool


AVA_PROTOCOLS = {
    "official": AVAProtocol(capacity=50, ava_kinetics=False),  # revision 3fee089, March 2019
    "official_2018": AVAProtocol(capacity=None, ava_kinetics=False),  # revision be7854e
    "official_2020": AVAProtocol(capacity=50, ava_kinetics=True),  # revision af461c3
}


@dataclass(frozen=True)
class AVAResult:
    """frame-mAP of one prediction file.

    Attributes:
        protocol: Key of ``AVA_PROTOCOLS``.
        mean_ap: Mean AP over the classes that have ground truth, in [0, 1]; NaN if none has.
        per_class: Class name to AP in [0, 1], in the order of the label map; NaN for a class
            without ground truth, 0 for one with ground truth and no detection.
        groundtruth_per_class: Class name to the number of its ground-truth boxes.
        num_key_frames: Key frames with evaluated ground truth (or listed as empty).
        num_groundtruth: Evaluated ground-truth boxes; one with k actions counts k times.
        num_detections: Detections that were ranked.
    """

    protocol: str
    mean_ap: float
    per_class: dict[str, float]
    groundtruth_per_class: dict[str, int]
    num_key_frames: int
    num_groundtruth: int
    num_detections: int


def get_protocol(name: str) -> AVAProtocol:
    """Look a protocol up by its name.

    Args:
        name: Key of ``AVA_PROTOCOLS``.

    Returns:
        AVAProtocol: the protocol.

    Raises:
        UserError: There is none of that name.
    """
    if name not in AVA_PROTOCOLS:
        raise UserError(f"unknown AVA protocol {name!r}, known are {', '.join(AVA_PROTOCOLS)}")
    return AVA_PROTOCOLS[name]


def check_groundtruth(
    groundtruth: AVATable,
    label_map: dict[int, str],
    exclusions: Collection[tuple[str, float]],
    protocol: str,
) -> None:
    """Refuse a ground truth that no predictions could be held against.

    Args:
        groundtruth: Its rows.
        label_map: Action id to the name of each class to evaluate.
        exclusions: (video id, seconds) of key frames that do not count.
        protocol: Key of ``AVA_PROTOCOLS``.

    Raises:
        AnnotationError: A box that counts is inverted, or the table has two-column rows or
            fractions of seconds although the protocol is not ``official_2020``.
        UserError: Unknown protocol.
    """
    if not get_protocol(protocol).ava_kinetics:
        _check_whole_seconds(groundtruth, protocol)
    inverted = (groundtruth.boxes[:, :2] > groundtruth.boxes[:, 2:]).any(axis=1)
    inverted &= np.isin(groundtruth.action_ids, list(label_map))
    for row in np.flatnonzero(inverted):
        key_frame = groundtruth.videos[groundtruth.video_index[row]], groundtruth.timestamps[row]
        if key_frame not in exclusions:
            x1, y1, x2, y2 = groundtruth.boxes[row]
            raise AnnotationError(
                f"{groundtruth.source}:{groundtruth.lines[row]}: inverted ground-truth box "
                f"({x1}, {y1}, {x2}, {y2}), expected x1 <= x2 and y1 <= y2"
            )


def evaluate_ava(
    groundtruth: AVATable,
    predictions: AVATable,
    label_map: dict[int, str],
    exclusions: Collection[tuple[str, float]] = (),
    protocol: str = "official",
    *,
    same_source: bool = False,
) -> AVAResult:
    """Compute frame-mAP@0.5 with the semantics of the official script.

    Classes outside of the label map are dropped first. Detections without area are never ranked.
    The order of tied scores follows the script too: the heap of its reader within a key frame, the
    order of the prediction file and numpy's sort across key frames.

    Args:
        groundtruth: Rows of ground truth, read in the format of the protocol.
        predictions: Rows of predictions; a row without score has score 1.
        label_map: Action id to the name of each class to evaluate.
        exclusions: (video id, seconds) of key frames whose ground truth and detections do not
            count. The protocol ``official_2020`` knows none: they are ignored with a warning.
        protocol: Key of ``AVA_PROTOCOLS``.
        same_source: The predictions are known to be of these key frames: a model has just made
            them, and zeros are its fault.

    Returns:
        AVAResult: the figures.

    Raises:
        AnnotationError: A ground-truth box is inverted, or a table has two-column rows or
            fractions of seconds although the protocol is not ``official_2020``.
        EvaluationError: Predictions and ground truth have no key frame or no class in common, or
            one has its boxes in pixels.
        UserError: Unknown protocol.
    """
    matches = match_ava(
        groundtruth, predictions, label_map, exclusions, protocol, same_source=same_source
    )
    return ava_result(matches, label_map, protocol)


def match_ava(
    groundtruth: AVATable,
    predictions: AVATable,
    label_map: dict[int, str],
    exclusions: Collection[tuple[str, float]] = (),
    protocol: str = "official",
    *,
    same_source: bool = False,
) -> FrameMatches:
    """Find the detections that count and which of them are true positives.

    Arguments and errors are those of :func:`evaluate_ava`.

    Returns:
        FrameMatches: the classes are those of the label map in the order of their ids.
    """
    rules = get_protocol(protocol)
    if rules.ava_kinetics and exclusions:
        logger.warning("Protocol %s has no excluded key frames: the list is ignored.", protocol)
        exclusions = ()
    if not rules.ava_kinetics:
        _check_whole_seconds(predictions, protocol)
    check_groundtruth(groundtruth, label_map, exclusions, protocol)

    key_frames = _KeyFrameCodes(groundtruth, predictions)
    gt_keys, keys = key_frames.of_table(groundtruth), key_frames.of_table(predictions)
    excluded = key_frames.of_pairs(exclusions)
    class_ids = np.array(sorted(label_map), dtype=np.int64)

    gt_keep = np.isin(groundtruth.action_ids, class_ids) & ~np.isin(gt_keys, excluded)
    keep = np.isin(predictions.action_ids, class_ids) & ~np.isin(keys, excluded)
    if rules.ava_kinetics:
        listed = np.union1d(gt_keys, key_frames.of_pairs(groundtruth.empty_key_frames))
        keep &= np.isin(keys, listed)
    else:
        listed = np.unique(gt_keys[gt_keep])
    check_comparable(
        groundtruth,
        predictions,
        gt_keys=gt_keys,
        keys=keys,
        gt_counted=~np.isin(gt_keys, excluded),
        counted=~np.isin(keys, excluded),
        empty_keys=key_frames.of_pairs(groundtruth.empty_key_frames),
        class_ids=class_ids,
        same_source=same_source,
    )

    has_area = (predictions.boxes[:, :2] < predictions.boxes[:, 2:]).all(axis=1)
    if rules.capacity is None:
        gt_rows = np.flatnonzero(gt_keep)
        rows = _rows_as_core_ranks(predictions, np.flatnonzero(keep), keys, has_area)
    else:
        gt_rows = _rows_as_reader_ranks(groundtruth, np.flatnonzero(gt_keep), gt_keys, None)
        rows = _rows_as_reader_ranks(predictions, np.flatnonzero(keep), keys, rules.capacity)
        rows = rows[has_area[rows]]
    gt_classes = np.searchsorted(class_ids, groundtruth.action_ids[gt_rows])
    classes = np.searchsorted(class_ids, predictions.action_ids[rows])
    groups = keys[rows] * len(class_ids) + classes
    gt_groups = gt_keys[gt_rows] * len(class_ids) + gt_classes
    # Few detections are of a class that their key frame holds: only their boxes are copied.
    candidates = np.flatnonzero(np.isin(groups, gt_groups))
    true_positive = np.zeros(len(rows), dtype=bool)
    candidate_boxes = predictions.boxes[rows[candidates]]
    true_positive[candidates] = match_detections(
        candidate_boxes, groups[candidates], groundtruth.boxes[gt_rows], gt_groups, IOU_THRESHOLD
    )

    return FrameMatches(
        groundtruth=groundtruth,
        predictions=predictions,
        class_names=tuple(label_map[class_id] for class_id in class_ids.tolist()),
        gt_rows=gt_rows,
        gt_keys=gt_keys[gt_rows],
        gt_classes=gt_classes,
        rows=rows,
        keys=keys[rows],
        classes=classes,
        true_positive=true_positive,
        num_key_frames=len(listed),
    )


def ava_result(matches: FrameMatches, label_map: dict[int, str], protocol: str) -> AVAResult:
    """Compute the figures from what :func:`match_ava` found.

    Args:
        matches: Of :func:`match_ava` with this label map and protocol.
        label_map: Action id to the name of each class; gives the order of the result.
        protocol: The name to put beside the figures.

    Returns:
        AVAResult: the figures.
    """
    aps, gt_counts = matches.average_precisions(), matches.gt_counts
    columns = {class_id: column for column, class_id in enumerate(sorted(label_map))}
    return AVAResult(
        protocol=protocol,
        mean_ap=mean_over_classes(aps),
        per_class={name: float(aps[columns[i]]) for i, name in label_map.items()},
        groundtruth_per_class={name: int(gt_counts[columns[i]]) for i, name in label_map.items()},
        num_key_frames=matches.num_key_frames,
        num_groundtruth=len(matches.gt_rows),
        num_detections=len(matches.rows),
    )


class _KeyFrameCodes:
    """Integers for the key frames (video, second) of several tables."""

    def __init__(self, *tables: AVATable):
        pairs = [pair for table in tables for pair in table.empty_key_frames]
        videos = dict.fromkeys(video for table in tables for video in table.videos)
        videos |= dict.fromkeys(video for video, _ in pairs)
        self._video_codes = {video: code for code, video in enumerate(videos)}
        pair_times = np.array([seconds for _, seconds in pairs], dtype=np.float64)
        self._times = np.unique(np.concatenate([*(t.timestamps for t in tables), pair_times]))

    def of_table(self, table: AVATable) -> np.ndarray:
        video_codes = np.array([self._video_codes[v] for v in table.videos], dtype=np.int64)
        times = np.searchsorted(self._times, table.timestamps)
        return video_codes[table.video_index] * len(self._times) + times

    def of_pairs(self, pairs: Collection[tuple[str, float]]) -> np.ndarray:
        """Codes of (video id, seconds); those of no table have none and are left out."""
        known = [(v, t) for v, t in pairs if v in self._video_codes]
        video_codes = np.array([self._video_codes[v] for v, _ in known], dtype=np.int64)
        seconds = np.array([t for _, t in known], dtype=np.float64)
        times = np.searchsorted(self._times, seconds)
        exists = np.isin(seconds, self._times)
        return (video_codes * len(self._times) + times)[exists]


def _check_whole_seconds(table: AVATable, protocol: str) -> None:
    if table.empty_key_frames:
        raise AnnotationError(
            f"{table.source}: two-column rows are no part of protocol {protocol}, "
            "only of official_2020"
        )
    fractions = np.flatnonzero(table.timestamps % 1)
    if len(fractions):
        raise AnnotationError(
            f"{table.source}:{table.lines[fractions[0]]}: timestamp "
            f"{table.timestamps[fractions[0]]} is not a whole second, as protocol {protocol} needs"
        )


def _rows_as_reader_ranks(
    table: AVATable, rows: np.ndarray, keys: np.ndarray, capacity: int | None
) -> np.ndarray:
    """Key frames as the file has them, rows in each by score, ties by the heap of the reader.

    The reader keeps a min-heap of (score, action, y1, x1, y2, x2) per key frame; a row of a full
    heap replaces the least one only if its score is higher. Its array is then sorted by score.
    """

    def rank(tied: np.ndarray) -> np.ndarray:
        box_columns = table.boxes[tied][:, [1, 0, 3, 2]].T.tolist()
        entries = list(zip(scores[tied].tolist(), table.action_ids[tied].tolist(), *box_columns))
        heap: list[tuple] = []
        places: dict[tuple, list[int]] = defaultdict(list)
        for place, entry in enumerate(entries):
            places[entry].append(place)
            if capacity is None or len(heap) < capacity:
                heapq.heappush(heap, entry)
            elif entry[0] > heap[0][0]:
                heapq.heapreplace(heap, entry)
        return tied[[places[entry].pop() for entry in sorted(heap, key=lambda e: -e[0])]]

    scores = table.scores
    return _rank_groups(rows, _order_of_appearance(keys[rows]), scores, rank, capacity)


def _rows_as_core_ranks(
    table: AVATable, rows: np.ndarray, keys: np.ndarray, has_area: np.ndarray
) -> np.ndarray:
    """Key frames as the file has them, rows of each class by score, ties by numpy's sort.

    Boxes without area are gone before the sort, but have their say in the order of key frames.
    """

    def rank(tied: np.ndarray) -> np.ndarray:
        return tied[np.argsort(scores[tied])[::-1]]

    scores = table.scores
    key_frames = _order_of_appearance(keys[rows])[has_area[rows]]
    rows = rows[has_area[rows]]
    classes = np.unique(table.action_ids[rows], return_inverse=True)[1]
    groups = key_frames * (classes.max(initial=0) + 1) + classes
    return _rank_groups(rows, groups, scores, rank, None)


def _rank_groups(
    rows: np.ndarray,
    groups: np.ndarray,
    scores: np.ndarray,
    rank_tied: Callable[[np.ndarray], np.ndarray],
    capacity: int | None,
) -> np.ndarray:
    """Sort rows by group and descending score, and cut each group at ``capacity``.

    A group in which a score occurs twice is left to ``rank_tied``, which takes its rows in file
    order and returns those to keep in their order.
    """
    order = np.lexsort((-scores[rows], groups))
    ranked, groups = rows[order], groups[order]
    del order  # of a million rows every array counts
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    sizes = np.diff(starts, append=len(ranked))
    keep = np.ones(len(ranked), dtype=bool)
    if capacity is not None:
        keep = np.arange(len(ranked), dtype=np.int32) - np.repeat(starts, sizes) < capacity
    ties = np.flatnonzero((np.diff(groups) == 0) & (np.diff(scores[ranked]) == 0))
    for group in np.unique(np.searchsorted(starts, ties, side="right") - 1):
        members = slice(starts[group], starts[group] + sizes[group])
        kept = rank_tied(np.sort(ranked[members]))
        ranked[members.start : members.start + len(kept)] = kept
    return ranked[keep]


def _order_of_appearance(keys: np.ndarray) -> np.ndarray:
    """(N,) int: 0 for the rows of the first key, 1 for those of the next other key, ..."""
    starts = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1))
    _, first_runs, inverse = np.unique(keys[starts], return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first_runs))[inverse]
    return np.repeat(order, np.diff(starts, append=len(keys)))
