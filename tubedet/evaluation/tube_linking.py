"""Linking of frame detections to action tubes."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from .detection_ap import overlapping_pairs
from .video_ap import DetectedTube

MIN_TUBE_LENGTH = 15  # frames, of the published linking


def link_detections(
    videos: np.ndarray,
    frames: np.ndarray,
    labels: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    link_iou: float = 0.5,
    nms_iou: float = 0.6,
    max_per_frame: int = 10,
    min_score: float = 0.005,
    min_length: int = MIN_TUBE_LENGTH,
) -> dict[int, list[DetectedTube]]:
    """Link the detections of each video and class online, frame by frame.

    In every frame, first each detection that overlaps a better one by more than ``nms_iou`` has
    its score multiplied by 1 - IoU, and the best ``max_per_frame`` stay. Then the tubes, best mean
    score first, each take the best-scored free detection that overlaps their last box by at least
    ``link_iou``; a tube that finds none ends, and each detection left over starts a tube. So tubes
    have no gaps. At the end, those shorter than ``min_length`` frames or with a mean score below
    ``min_score`` are dropped. This is the linking of MOC (Li et al., "Actions as Moving Points",
    ECCV 2020) for tubelets of one frame; the defaults are theirs. Overlaps are plain IoUs, without
    an extra pixel.

    Args:
        videos: (N,) int, the video of each detection.
        frames: (N,) int, its place among the frames of the video, not negative; places that
            differ by 1 are successive.
        labels: (N,) int, its 0-based class.
        boxes: (N, 4) float, x1, y1, x2, y2 in any unit.
        scores: (N,) float.
        link_iou: Least IoU of successive boxes, inclusive.
        nms_iou: Largest IoU, inclusive, that leaves a score as it is.
        max_per_frame: Detections of one class that stay in a frame.
        min_score: Least mean score of a tube, inclusive.
        min_length: Least number of frames of a tube, inclusive.

    Returns:
        dict[int, list[DetectedTube]]: video to its tubes, by class and then by their ends.
    """
    if len(frames) == 0:
        return {}
    # One number for each video, class and frame; after the last frame of a video one is left out.
    runs = videos * (labels.max() + 1) + labels
    slots = runs * (frames.max() + 2) + frames
    rows, scores = _ranked_with_soft_nms(slots, boxes, scores, nms_iou, max_per_frame)
    slots, boxes = slots[rows], boxes[rows]

    tubes = defaultdict(list)
    for members in _chains(slots, boxes, scores, link_iou):
        if len(members) < min_length:
            continue
        score = float(np.mean(scores[members]))
        if score >= min_score:
            first = rows[members[0]]
            tubes[int(videos[first])].append(
                DetectedTube(int(labels[first]), score, frames[rows[members]], boxes[members])
            )
    return dict(tubes)


def _ranked_with_soft_nms(
    slots: np.ndarray, boxes: np.ndarray, scores: np.ndarray, nms_iou: float, max_per_slot: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that stay, by slot and descending new score, and their new scores."""
    order = np.lexsort((-scores, slots))
    slots, boxes, scores = slots[order], boxes[order], scores[order].astype(np.float64)
    better, worse, ious = overlapping_pairs(boxes, slots, boxes, slots, nms_iou)
    kept = (worse > better) & (ious > nms_iou)
    lowered = set()
    for row, other, iou in zip(better[kept].tolist(), worse[kept].tolist(), ious[kept].tolist()):
        if row not in lowered and other not in lowered:
            lowered.add(other)
            scores[other] *= 1 - iou
    ranked = np.lexsort((-scores, slots))
    starts = np.searchsorted(slots, slots, side="left")  # slots are the same before and after
    ranked = ranked[np.arange(len(ranked)) - starts < max_per_slot]
    return order[ranked], scores[ranked]


def _chains(
    slots: np.ndarray, boxes: np.ndarray, scores: np.ndarray, link_iou: float
) -> list[list[int]]:
    """Chains of rows in successive slots; rows come by slot and descending score."""
    tails, heads, _ = overlapping_pairs(boxes, slots + 1, boxes, slots, link_iou)
    first_heads = np.searchsorted(tails, np.arange(len(slots) + 1)).tolist()
    heads, scores = heads.tolist(), scores.tolist()
    slot_starts = np.flatnonzero(np.diff(slots, prepend=-1)).tolist()

    ended: list[list[int]] = []
    growing: list[tuple[list[int], float]] = []  # rows of a chain and the sum of their scores
    for start, end in zip(slot_starts, [*slot_starts[1:], len(slots)]):
        free = set(range(start, end))
        grown = []
        for chain, total in sorted(growing, key=lambda tube: -tube[1] / len(tube[0])):
            candidates = heads[first_heads[chain[-1]] : first_heads[chain[-1] + 1]]
            head = next((row for row in candidates if row in free), None)
            if head is None:
                ended.append(chain)
            else:
                free.remove(head)
                chain.append(head)
                grown.append((chain, total + scores[head]))
        growing = grown + [([row], scores[row]) for row in sorted(free)]
    return ended + [chain for chain, _ in growing]
