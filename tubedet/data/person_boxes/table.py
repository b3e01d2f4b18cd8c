"""Boxes of persons from any file, in one form."""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from tubedet.data.annotations.text import AnnotationError
from tubedet.data.video.reader import VIDEO_EXTENSIONS

MOST_BOXES = 20_000_000  # of a file: about 2 GB of memory
_MOST_NAMED = 3  # videos in a message


@dataclass(frozen=True)
class PersonBoxes:
    """N boxes of persons, ordered by video and time; those of one moment keep the file's order.

    Attributes:
        source: path of the file, for messages.
        format: name of its format.
        in_seconds: times are seconds on the clock of the file; otherwise numbers of stored frames,
            from 1.
        in_pixels: boxes are in pixels of the stored video, whose size the file does not tell;
            otherwise fractions of the frame.
        videos: ids of V videos. "": the file is about one video and does not name it.
        video_index: (N,) int32, place in ``videos``.
        times: (N,) float64.
        boxes: (N, 4) float64, XYXY.
        scores: (N,) float64, probability of a person; 1 where the file has none.
        track_ids: (N,) int64, the same for a person throughout a video; -1 where not known.
        actions: N tuples of action ids, from 1; empty tuples where nothing is known.
        moments: (video, time) that the file lists, those without a box too.
        remarks: what was read otherwise than it stands, and how often.
    """

    source: str
    format: str
    in_seconds: bool
    in_pixels: bool
    videos: tuple[str, ...]
    video_index: np.ndarray
    times: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    track_ids: np.ndarray
    actions: tuple[tuple[int, ...], ...]
    moments: frozenset[tuple[str, float]] = frozenset()
    remarks: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.times)

    @property
    def has_tracks(self) -> bool:
        """Whether every box belongs to a track."""
        return len(self) > 0 and bool((self.track_ids >= 0).all())

    @cached_property
    def _rows(self) -> dict[str, slice]:
        limits = np.searchsorted(self.video_index, np.arange(len(self.videos) + 1))
        return {v: slice(a, b) for v, a, b in zip(self.videos, limits, limits[1:])}

    @cached_property
    def _stems(self) -> dict[str, str]:
        return {_without_ending(video): video for video in self.videos}

    def find_video(self, video_id: str) -> str | None:
        """Return what the file calls a video; None if it has no such video.

        Args:
            video_id: with or without the ending of a video file.
        """
        if video_id in self._rows:
            return video_id
        if self.videos == ("",):
            return ""
        return self._stems.get(_without_ending(video_id))

    def rows_of(self, video_id: str) -> slice:
        """Return the rows of a video; none if the file has no such video.

        Args:
            video_id: see :meth:`find_video`.
        """
        name = self.find_video(video_id)
        return slice(0, 0) if name is None else self._rows[name]

    def rows_at(self, video_id: str, time: float, within: float = 0.0) -> slice:
        """Return the rows of one moment.

        Args:
            video_id: see :meth:`find_video`.
            time: in the unit of ``times``.
            within: the nearest moment counts if it is at most so far away.
        """
        rows = self.rows_of(video_id)
        times = self.times[rows]
        if not len(times):
            return rows
        right = min(int(np.searchsorted(times, time)), len(times) - 1)
        left = max(right - 1, 0)
        nearest = times[left] if time - times[left] <= times[right] - time else times[right]
        if abs(nearest - time) > within:
            return slice(0, 0)
        begin, end = np.searchsorted(times, [nearest, np.nextafter(nearest, np.inf)])
        return slice(rows.start + int(begin), rows.start + int(end))

    def select(self, rows: np.ndarray) -> PersonBoxes:
        """Return some of the boxes; videos and moments stay.

        Args:
            rows: (N,) bool.
        """
        names = ("video_index", "times", "boxes", "scores", "track_ids")
        actions = tuple(a for a, kept in zip(self.actions, rows.tolist()) if kept)
        return replace(self, actions=actions, **{n: getattr(self, n)[rows] for n in names})

    def with_scores_from(self, threshold: float, *, keep_best: bool = False) -> PersonBoxes:
        """Return the boxes with at least a score.

        Args:
            threshold: lowest score.
            keep_best: the best boxes of every moment stay, whatever their score (mmaction2).
        """
        kept = self.scores >= threshold
        if keep_best and len(self):
            new = np.ones(len(self), dtype=bool)
            new[1:] = (np.diff(self.video_index) != 0) | (np.diff(self.times) != 0)
            starts = np.flatnonzero(new)
            best = np.maximum.reduceat(self.scores, starts)
            kept |= self.scores == np.repeat(best, np.diff(starts, append=len(self)))
        return self.select(kept)

    def unknown_video(self, video_id: str) -> AnnotationError:
        """Return the error that there are no boxes of a video.

        Args:
            video_id: of the video.
        """
        shown = ", ".join(repr(video) for video in self.videos[:_MOST_NAMED])
        more = len(self.videos) - _MOST_NAMED
        shown += f" and {more} more" if more > 0 else ""
        return AnnotationError(
            f"{self.source}: no boxes of the video {video_id!r}; the file has {shown or 'none'}: "
            "rename the video, or the videos in the file"
        )


class BoxRows:
    """Collects the boxes of a file one by one.

    Args:
        source: path of the file, for messages.
    """

    def __init__(self, source: str | os.PathLike):
        self.source = os.fspath(source)
        self.remarks: Counter[str] = Counter()
        self._videos: dict[str, int] = {}
        self._moments: set[tuple[str, float]] = set()
        self._index, self._tracks = array("i"), array("q")
        self._times, self._boxes, self._scores = array("d"), array("d"), array("d")
        self._actions: list[tuple[int, ...]] = []

    def __len__(self) -> int:
        return len(self._times)

    def add_moment(self, video: str, time: float) -> None:
        """Note that the file is about a moment, even if it holds nobody.

        Args:
            video: id.
            time: see :class:`PersonBoxes`.
        """
        self._videos.setdefault(video, len(self._videos))
        self._moments.add((video, time))

    def add(
        self,
        video: str,
        time: float,
        box: Sequence[float],
        score: float,
        *,
        track_id: int = -1,
        actions: Iterable[int] = (),
    ) -> None:
        """Take a box; one without an area is counted and left out.

        Args:
            video: id.
            time: see :class:`PersonBoxes`.
            box: x1, y1, x2, y2.
            score: probability of a person.
            track_id: see :class:`PersonBoxes`.
            actions: ids, from 1.

        Raises:
            AnnotationError: if there are too many boxes.
        """
        self.add_moment(video, time)
        x1, y1, x2, y2 = box
        if not (x1 < x2 and y1 < y2):
            self.remarks["boxes without an area: left out"] += 1
            return
        if len(self._times) == MOST_BOXES:
            raise AnnotationError(
                f"{self.source}: more than {MOST_BOXES:,} boxes; split the file by videos"
            )
        self._index.append(self._videos[video])
        self._times.append(time)
        self._boxes.extend((x1, y1, x2, y2))
        self._scores.append(score)
        self._tracks.append(track_id)
        self._actions.append(tuple(actions))

    def finish(self, name: str, *, in_seconds: bool, in_pixels: bool = False) -> PersonBoxes:
        """Order the boxes; equal boxes of one moment become one.

        It has the highest score of them and all their actions, in their order. Boxes of different
        tracks stay apart.

        Args:
            name: of the format.
            in_seconds: see :class:`PersonBoxes`.
            in_pixels: likewise.
        """
        index = np.array(self._index, dtype=np.int32)
        times, scores = np.array(self._times), np.array(self._scores)
        boxes = np.array(self._boxes).reshape(-1, 4)
        tracks = np.array(self._tracks, dtype=np.int64)
        # Equal boxes become neighbours, in the order of the file.
        keys = (tracks, *boxes.T, times, index)
        by_key = np.lexsort(keys)
        is_new = np.ones(len(times), dtype=bool)
        is_new[1:] = np.any([np.diff(key[by_key]) != 0 for key in keys], axis=0)
        starts = np.flatnonzero(is_new)
        first = by_key[starts]
        best = np.maximum.reduceat(scores[by_key], starts) if len(starts) else scores
        group = np.empty(len(times), dtype=np.int64)
        group[by_key] = np.cumsum(is_new) - 1
        actions: list[tuple[int, ...]] = [()] * len(first)
        for row, some in enumerate(self._actions):
            if some:
                actions[group[row]] = tuple(dict.fromkeys(actions[group[row]] + some))
        order = np.lexsort((first, times[first], index[first]))
        rows = first[order]
        return PersonBoxes(
            self.source,
            name,
            in_seconds,
            in_pixels,
            tuple(self._videos),
            index[rows],
            times[rows],
            boxes[rows],
            best[order],
            tracks[rows],
            tuple(actions[g] for g in order.tolist()),
            frozenset(self._moments),
            self.remarks,
        )


def _without_ending(video: str) -> str:
    stem, ending = os.path.splitext(video)
    return stem if ending.lower() in VIDEO_EXTENSIONS else video
