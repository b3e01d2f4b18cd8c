"""From key frames to intervals of time: who does what from when to when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class ActionSpan:
    """Key frames in a row in which a person does something.

    Attributes:
        start, end: seconds, see :func:`key_frame_span`.
        score: the highest score of the action in it.
    """

    start: float
    end: float
    score: float


class ActionInterval(NamedTuple):
    """Who does what from when to when.

    Attributes:
        video: its name.
        person_id: number of the person.
        action: its name.
        start, end: seconds since the first frame, see :func:`key_frame_span`.
        score: the highest score of the action in it.
    """

    video: str
    person_id: int
    action: str
    start: float
    end: float
    score: float


def key_frame_span(time: float, *, every: float, duration: float | None) -> tuple[float, float]:
    """Return the time for which a key frame stands: what is nearer to it than to others.

    Args:
        time: of the key frame, seconds since the first frame.
        every: seconds between key frames.
        duration: of the video, seconds; None: not known.

    Returns:
        start and end, half of ``every`` before and after the key frame, cut at the ends of the
        video.
    """
    end = time + every / 2
    if duration is not None:
        end = max(min(end, duration), time)  # what a file says of its duration may be too short
    return max(time - every / 2, 0.0), end


def add_to_spans(
    spans: list[ActionSpan], time: float, score: float, *, every: float, duration: float | None
) -> None:
    """Lengthen the last span by a key frame that follows it, or begin another one.

    Args:
        spans: of one action of one person, in order; changed.
        time: of the key frame, seconds.
        score: of the action at it.
        every: see :func:`key_frame_span`.
        duration: likewise.
    """
    start, end = key_frame_span(time, every=every, duration=duration)
    if spans and start - spans[-1].end < every / 2:
        last = spans.pop()
        start, score = last.start, max(last.score, score)
    spans.append(ActionSpan(start, end, score))


class IntervalCollector:
    """Joins the key frames of a video to intervals. Memory grows with the number of intervals.

    Args:
        video: name of the video.
        every: seconds between key frames.
        duration: of the video, seconds; None: not known.
    """

    def __init__(self, video: str, *, every: float, duration: float | None = None):
        self.video = video
        self.every = every
        self.duration = duration
        self._spans: dict[tuple[int, str], list[ActionSpan]] = {}

    def add(self, time: float, person_id: int, action: str, score: float) -> None:
        """Take an action of a person at a key frame; key frames come in order.

        Args:
            time: of the key frame, seconds.
            person_id: number of the person.
            action: its name.
            score: of the action.
        """
        if math.isfinite(score):
            spans = self._spans.setdefault((person_id, action), [])
            add_to_spans(spans, time, score, every=self.every, duration=self.duration)

    def intervals(self) -> list[ActionInterval]:
        """Return the intervals up to now, by start, person and name of the action."""
        found = [
            ActionInterval(self.video, person_id, action, span.start, span.end, span.score)
            for (person_id, action), spans in self._spans.items()
            for span in spans
        ]
        return sorted(found, key=lambda x: (x.start, x.person_id, x.action))
