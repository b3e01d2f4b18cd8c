"""Give the key frames of a data set the person boxes of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.structures import BoxMode

from tubedet.data.annotations.text import AnnotationError

from .table import PersonBoxes

_MOST_NAMED = 3  # videos in a message


@dataclass(frozen=True)
class ProposalCoverage:
    """What came from a file.

    Attributes:
        source: the file.
        format: of the file.
        num_key_frames: of the data set.
        num_covered: key frames with a box.
        num_boxes: of all key frames.
        missing_videos: those of the data set that the file does not have.
    """

    source: str
    format: str
    num_key_frames: int
    num_covered: int
    num_boxes: int
    missing_videos: tuple[str, ...] = ()

    def __str__(self) -> str:
        share = 100 * self.num_covered / max(self.num_key_frames, 1)
        text = (
            f"person boxes from {self.source} ({self.format}): {self.num_boxes} boxes, "
            f"{self.num_covered} of {self.num_key_frames} key frames ({share:.1f} %) have one"
        )
        if self.missing_videos:
            shown = ", ".join(self.missing_videos[:_MOST_NAMED])
            text += f"; no boxes of {len(self.missing_videos)} videos ({shown}, ...)"
        return text


def with_proposals(
    records: Sequence[dict],
    boxes: PersonBoxes,
    *,
    threshold: float,
    topk: int,
    keep_best: bool = False,
) -> tuple[list[dict], ProposalCoverage]:
    """Return dataset dicts with the boxes of their key frames.

    They get ``proposal_boxes`` float64 (n, 4), ``proposal_scores`` float64 (n,) and
    ``proposal_bbox_mode``: pixels of the stored video (``XYXY_ABS``) where its size is known, as
    boxes of annotations are, and fractions (``XYXY_REL``) elsewhere. Boxes keep the file's order. A
    key frame without a box stays, with none.

    Args:
        records: dataset dicts; they are not changed.
        boxes: of the file.
        threshold: boxes with a lower score are left out.
        topk: at most so many boxes of a key frame, those with the highest scores.
        keep_best: mmaction2's rule: the best box of a key frame stays whatever its score, and the
            whole frame, with the score 1, is the box of a key frame that the file does not have.

    Returns:
        New dataset dicts and what they got.

    Raises:
        AnnotationError: if the file has no box of any key frame.
    """
    listed = boxes.moments
    boxes = boxes.with_scores_from(threshold, keep_best=keep_best)
    found: list[dict] = []
    missing: dict[str, None] = {}
    num_covered = num_boxes = 0
    for record in records:
        video, time = record["video_id"], _time_of(record, boxes)
        if (name := boxes.find_video(video)) is None:
            missing[video] = None
        rows = boxes.rows_at(video, time, within=_tolerance(record, boxes))
        corners, scores = boxes.boxes[rows], boxes.scores[rows]
        if len(scores) > topk:
            best = np.sort(np.argsort(-scores, kind="stable")[:topk])
            corners, scores = corners[best], scores[best]
        num_covered += len(scores) > 0
        num_boxes += len(scores)
        fields = _fields(record, corners, scores, in_pixels=boxes.in_pixels)
        if keep_best and (name, time) not in listed and not len(scores):
            fields = _fields(record, np.array([[0.0, 0, 1, 1]]), np.ones(1), in_pixels=False)
        found.append({**record, **fields})
    if records and not num_covered:
        raise _no_box(records, boxes, threshold)
    coverage = ProposalCoverage(
        boxes.source, boxes.format, len(records), num_covered, num_boxes, tuple(missing)
    )
    return found, coverage


def _time_of(record: dict, boxes: PersonBoxes) -> float:
    """Return when a key frame is, as the file counts."""
    if boxes.in_seconds:
        return record["timestamp"]
    if "frame_number" in record:
        return float(record["frame_number"])
    return round((record["timestamp"] - record["start_second"]) * record["fps"]) + 1.0


def _tolerance(record: dict, boxes: PersonBoxes) -> float:
    return 0.5 / record["fps"] if boxes.in_seconds else 0.0


def _fields(
    record: dict, boxes: np.ndarray, scores: np.ndarray, *, in_pixels: bool
) -> dict[str, Any]:
    mode = BoxMode.XYXY_ABS if in_pixels else BoxMode.XYXY_REL
    if not in_pixels and "height" in record and "width" in record:
        mode = BoxMode.XYXY_ABS
        boxes = boxes * (record["width"], record["height"], record["width"], record["height"])
    return {"proposal_boxes": boxes, "proposal_scores": scores, "proposal_bbox_mode": mode}


def _no_box(records: Sequence[dict], boxes: PersonBoxes, threshold: float) -> AnnotationError:
    videos = {record["video_id"] for record in records}
    known = [video for video in sorted(videos) if boxes.find_video(video) is not None]
    if not known:
        return boxes.unknown_video(min(videos))
    times = [time for _, time in boxes.moments]
    own = [_time_of(record, boxes) for record in records]
    unit = "seconds" if boxes.in_seconds else "frames"
    return AnnotationError(
        f"{boxes.source}: no box of any of the {len(records)} key frames with a score from "
        f"{threshold:g} on; its {unit} are {min(times):g} to {max(times):g}, those of the data set "
        f"{min(own):g} to {max(own):g}"
    )
