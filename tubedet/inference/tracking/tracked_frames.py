"""All frames of a video with the persons on each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detectron2.structures import Instances

from .interpolation import interpolate_persons
from .person_tracker import PersonTracker

if TYPE_CHECKING:
    from tubedet.inference.video_detector import DetectedFrame, KeyFrameResult


@dataclass(frozen=True)
class TrackedFrame:
    """A frame of a video and the persons on it.

    Attributes:
        frame: the frame with the results of the key frames around it.
        persons: those persons at the time of this frame, see :func:`interpolate_persons`.
        keys: the results that came with this frame for the first time, each with its persons (see
            :meth:`PersonTracker.update`). Over a video every result comes once, in order; most
            frames have none.
        around: the persons of the key frames before and after this frame, where there is one after.
    """

    frame: DetectedFrame
    persons: Instances
    keys: tuple[tuple[KeyFrameResult, Instances], ...]
    around: tuple[Instances, ...]


def tracked_frames(
    frames: Iterable[DetectedFrame], tracker: PersonTracker
) -> Iterator[TrackedFrame]:
    """Follow the persons of a video and put them on every frame.

    Args:
        frames: all frames of a video in order.
        tracker: a fresh one, which is updated with every key frame once.

    Yields:
        TrackedFrame: one per frame, in the same order.
    """
    persons: dict[int, Instances] = {}
    newest = -1
    for frame in frames:
        keys = []
        around = [result for result in (frame.before, frame.after) if result is not None]
        for result in around:
            if result.index > newest:
                newest = result.index
                persons[newest] = tracker.update(result)
                keys.append((result, persons[newest]))
        persons = {result.index: persons[result.index] for result in around}
        yield TrackedFrame(
            frame,
            _persons_on(frame, persons),
            tuple(keys),
            tuple(persons[result.index] for result in around),
        )


def _persons_on(frame: DetectedFrame, persons: dict[int, Instances]) -> Instances:
    before, after = frame.before, frame.after
    if after is None or after.time <= before.time:
        return interpolate_persons(persons[before.index], None, 0.0)
    # Frames before the first key frame show what is on that one.
    fraction = (frame.time - before.time) / (after.time - before.time)
    return interpolate_persons(
        persons[before.index], persons[after.index], min(max(fraction, 0.0), 1.0)
    )
