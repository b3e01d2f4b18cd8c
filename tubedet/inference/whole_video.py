"""The results of one run over a video, together."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from tubedet.errors import UserError

from .action_intervals import ActionInterval, IntervalCollector
from .counted_nouns import counted
from .detected_video import DetectedVideo
from .key_frame_results import KeyFrameResult
from .result_tables import (
    intervals_as_dataframe,
    person_actions,
    person_ids,
    rows_as_dataframe,
)
from .tracking.person_track import PersonTrack, tracks_of
from .tracking.person_tracker import PersonTracker

if TYPE_CHECKING:
    import pandas
    import supervision
    from matplotlib.axes import Axes

    from tubedet.data.video.sources import FrameSource

logger = logging.getLogger(__name__)


class VideoResult(Sequence[KeyFrameResult]):
    """The results of a video with its persons followed, in the order of time.

    It is a sequence of :class:`.KeyFrameResult`, whose ``instances`` are the persons that count,
    with ``person_ids`` and the action scores smoothed along each person. A part of it by numbers,
    ``result[10:20]``, or by time, see :meth:`between`, is a VideoResult, too. It holds no frame:
    pictures are read from the video again. A notebook shows a picture and a table.

    Args:
        video: what the results share.
        key_frames: the results.
        every: seconds between key frames.

    Attributes:
        video: see the arguments.
        every: likewise.
    """

    def __init__(self, video: DetectedVideo, key_frames: Sequence[KeyFrameResult], *, every: float):
        self.video = video
        self.every = every
        self._key_frames = list(key_frames)

    def __len__(self) -> int:
        return len(self._key_frames)

    def __iter__(self) -> Iterator[KeyFrameResult]:
        return iter(self._key_frames)

    @overload
    def __getitem__(self, index: int) -> KeyFrameResult: ...

    @overload
    def __getitem__(self, index: slice) -> VideoResult: ...

    def __getitem__(self, index):
        if isinstance(index, slice):
            return VideoResult(self.video, self._key_frames[index], every=self.every)
        if isinstance(index, float):
            raise TypeError(f"key frames have whole numbers; at({index:g}) is the one at this time")
        return self._key_frames[index]

    def __repr__(self) -> str:
        span = f"{self[0].time:.3f} to {self[-1].time:.3f} s, " if self else ""
        return (
            f"VideoResult({self.video.name!r}, {counted(len(self), 'key frame')}, {span}"
            f"{counted(len(self.person_ids), 'person')})"
        )

    def _repr_html_(self) -> str:
        from .result_pictures import video_html

        return video_html(self)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the A actions."""
        return self[0].action_names if self else self.video.action_names

    @property
    def times(self) -> np.ndarray:
        """Times of the key frames, seconds since the first frame, (n,) float64."""
        return np.array([result.time for result in self], dtype=np.float64)

    @property
    def person_ids(self) -> list[int]:
        """Numbers of all persons, in order."""
        return sorted({i for result in self for i in result.instances.person_ids.tolist()})

    def at(self, time: float) -> KeyFrameResult:
        """Return the key frame that is nearest to a time; of two, the earlier one.

        Args:
            time: seconds since the first frame.

        Raises:
            UserError: if there is none within ``every`` seconds.
        """
        distances = np.abs(self.times - time)
        if not (distances <= self.every + 1e-6).any():
            there = f"from {self[0].time:g} to {self[-1].time:g} s" if self else "none at all"
            raise UserError(f"{self.video.name}: no key frame near {time:g} s: there are {there}")
        return self[int(distances.argmin())]

    def between(self, start: float, end: float) -> VideoResult:
        """Return the key frames of a part.

        Args:
            start: seconds since the first frame.
            end: likewise; a key frame there is left out.
        """
        first, last = np.searchsorted(self.times, [start, end])
        return self[int(first) : int(last)]

    def tracks(self) -> list[PersonTrack]:
        """Return each person with the key frames where the person was seen, by number."""
        return tracks_of(self)

    def intervals(self, min_score: float | None = None) -> list[ActionInterval]:
        """Return who does what from when to when, as :meth:`plot` and the web page draw it.

        Key frames in a row at which a person does something are one interval. It begins half of
        ``every`` before the first of them and ends as long after the last one, but not outside of
        the video where its duration is known.

        Args:
            min_score: lowest score of an action; None: that of ``video``.

        Returns:
            Tuples ``(video, person_id, action, start, end, score)`` by start, in seconds; the score
            is the highest one of the action in the interval.
        """
        found = IntervalCollector(self.video.name, every=self.every, duration=self.video.duration)
        for result in self:
            persons, names = result.instances, result.action_names
            ids = person_ids(persons)
            for row, action, score in person_actions(persons, result.shown_score(min_score)):
                found.add(result.time, ids[row], names[action], score)
        return found.intervals()

    def intervals_to_dataframe(self, min_score: float | None = None) -> pandas.DataFrame:
        """Return :meth:`intervals` as a table of pandas.

        Args:
            min_score: see :meth:`intervals`.

        Raises:
            UserError: if pandas is not installed.
        """
        return intervals_as_dataframe(self.intervals(min_score))

    def plot(
        self, axes: Axes | None = None, *, score_threshold: float | None = None, max_rows: int = 30
    ) -> Axes:
        """Draw who does what when: a row per person and action, the stronger the surer.

        ``result.at(12).plot()`` is the picture of a key frame.

        Args:
            axes: where to draw; None: in a new figure of matplotlib.pyplot.
            score_threshold: lowest score of an action that is drawn; None: that of ``video``.
            max_rows: rows with less of it are left out.

        Returns:
            The axes.
        """
        from .result_pictures import draw_timeline

        return draw_timeline(self, axes, score_threshold=score_threshold, max_rows=max_rows)

    def to_dataframe(self, *, min_score: float = 0.05) -> pandas.DataFrame:
        """Return a table of pandas with a row for each action of each person at each key frame.

        Args:
            min_score: actions with a lower score are left out.

        Returns:
            A table with the columns of :meth:`KeyFrameResult.to_rows`.

        Raises:
            UserError: if pandas is not installed.
        """
        rows = [row for result in self for row in result.to_rows(min_score=min_score)]
        return rows_as_dataframe(rows)

    def to_json(self, *, min_score: float = 0.05, lines: bool = False) -> str:
        """Return the persons at the key frames as json.

        Args:
            min_score: actions with a lower score are left out.
            lines: one object per line, which is the file of ``tubedet demo --json``; otherwise one
                list of these objects.
        """
        if lines:
            return "".join(f"{result.to_json(min_score=min_score)}\n" for result in self)
        records = [result.to_record(min_score=min_score) for result in self]
        return json.dumps(records, allow_nan=False)

    def to_supervision(
        self, *, score_threshold: float | None = None, max_actions: int = 1
    ) -> list[supervision.Detections]:
        """Return the detections of the package supervision of each key frame, in order.

        Args:
            score_threshold: lowest score of an action; None: that of ``video``.
            max_actions: see :meth:`KeyFrameResult.to_supervision`.

        Raises:
            UserError: if supervision is not installed.
        """
        return [
            result.to_supervision(score_threshold=score_threshold, max_actions=max_actions)
            for result in self
        ]


def detect_whole_video(
    results: Iterable[KeyFrameResult],
    source: FrameSource,
    *,
    every: float,
    person_threshold: float,
    score_threshold: float,
    smoothing: float,
    progress: Callable[[float], object] | None,
) -> VideoResult:
    """Follow the persons of a video while it is detected.

    Args:
        results: of the detector, in order, at least one.
        source: their video, open; damage to it is logged.
        every: see :meth:`~tubedet.inference.VideoActionDetector.detect`, as for those below.
        person_threshold: likewise.
        score_threshold: likewise.
        smoothing: likewise.
        progress: likewise.
    """
    tracker = PersonTracker.for_key_frames(every, person_threshold, smoothing=smoothing)
    key_frames: list[KeyFrameResult] = []
    video = DetectedVideo(source.name)
    for result in results:
        if result.video is not None and not key_frames:
            video = dataclasses.replace(
                result.video, person_threshold=person_threshold, score_threshold=score_threshold
            )
        persons = tracker.update(result)
        key_frames.append(dataclasses.replace(result, instances=persons, video=video))
        if progress is not None:
            progress(result.time)
    if message := source.damage_message():
        logger.warning(message)
    return VideoResult(video, key_frames, every=every)
