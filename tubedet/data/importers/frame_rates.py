"""Numbers of frames of tools that count by a rate of their own, as numbers of stored frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from .labels import Labels, Moment, PersonBox

# Frames that a tool's rate may be off at the end of a video: it rounds the length up.
_ROUNDING = 1.5


class StoredVideo(NamedTuple):
    """What is known of a video.

    Attributes:
        fps: frames per second.
        num_frames: how many there are, or None.
    """

    fps: float
    num_frames: int | None = None


def to_stored_frames(labels: Labels, stored: Mapping[str, StoredVideo]) -> Labels:
    """Give boxes the numbers of the stored frames that were shown.

    Label Studio counts frames by the ``frameRate`` of its ``<Video>``, 24 if it is not set, not by
    that of the video, and rounds their number up. Of each such frame the stored one at its middle
    is taken.

    Args:
        labels: by numbers of frames, with ``frame_rates``.
        stored: the videos that have such a rate.

    Returns:
        The labels, by stored frames.
    """
    moments = {box.moment for box in labels.boxes} | labels.looked_at | labels.unclear
    lengths: dict[str, float] = {}
    for video_id, number in moments:
        lengths[video_id] = max(number, lengths.get(video_id, 0))
    remarks = labels.remarks.copy()
    factors: dict[str, float] = {}
    for video_id, counted in labels.frame_rates.items():
        fps, length = stored[video_id].fps, lengths.get(video_id, 0)
        if abs(length * (fps / counted - 1)) > _ROUNDING:
            factors[video_id] = fps / counted
            remarks[
                f"frames of {video_id!r} are counted at {counted:.5g} per second, the video has "
                f"{fps:.5g}: those of the same times are taken"
            ] = round(length)

    def stored_moment(moment: Moment) -> Moment:
        video_id, number = moment
        if video_id in factors:
            return video_id, math.floor((number - 0.5) * factors[video_id]) + 1
        return moment

    def is_there(moment: Moment) -> bool:
        count = stored[moment[0]].num_frames if moment[0] in stored else None
        return count is None or moment[1] <= count

    places = {moment: stored_moment(moment) for moment in moments}
    beyond = {moment for moment, place in places.items() if not is_there(place)}
    if beyond:
        remarks["frames behind the end of the video: left out"] = len(beyond)
    boxes: dict[tuple, PersonBox] = {}
    for box in labels.boxes:
        if box.moment not in beyond:
            place = places[box.moment]
            boxes.setdefault((*place, box.person_id), box._replace(time=place[1]))
    return replace(
        labels,
        boxes=list(boxes.values()),
        looked_at={places[moment] for moment in labels.looked_at - beyond},
        unclear={places[moment] for moment in labels.unclear - beyond},
        remarks=remarks,
    )
