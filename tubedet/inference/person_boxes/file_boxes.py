"""Person boxes of files for the key frames of a video."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tubedet.data.person_boxes import PersonBoxes, read_person_boxes
from tubedet.data.video.sources import FrameSource
from tubedet.errors import UserError

from .sources import FindPersons, ImageDetector, PersonBoxSource, PersonsAt

logger = logging.getLogger(__name__)

# Longest time between two boxes of a track that are joined by a straight line.
LONGEST_GAP = 2.0  # seconds
_TIMES_EQUAL = 1e-6  # seconds
# Where trackers put the boxes of a video within a folder of that name.
_IN_FOLDERS = ("gt/gt.txt", "det/det.txt")


class FileBoxes(PersonBoxSource):
    """The boxes that a file has.

    At a key frame they are those of the file's nearest moment, if it is at most half the distance
    of key frames away. Where all boxes belong to tracks, each person moves on a straight line
    between the own boxes before and after the key frame, and keeps the number of the track.

    Args:
        boxes: of all videos; or a function that reads those of the video of a name.
        start_second: second on the clock of the file at which videos begin.
    """

    def __init__(
        self, boxes: PersonBoxes | Callable[[str], PersonBoxes], *, start_second: float = 0.0
    ):
        self._boxes = boxes
        self._start_second = start_second

    @contextlib.contextmanager
    def opened(
        self, source: FrameSource, *, every: float, start: float, end: float | None
    ) -> Iterator[FindPersons]:
        """See :class:`PersonBoxSource`."""
        boxes = self._boxes if isinstance(self._boxes, PersonBoxes) else self._boxes(source.name)
        rows = boxes.rows_of(source.name)
        if boxes.find_video(source.name) is None:
            raise boxes.unknown_video(source.name)
        times = boxes.times[rows]
        if boxes.in_seconds:
            times = times - self._start_second
        else:
            times = (times - 1) / float(source.rate)
        corners = boxes.boxes[rows]
        if boxes.in_pixels:
            corners = corners / (source.width, source.height, source.width, source.height)
        _check_times(boxes, times, source, every / 2)
        scores, tracks = boxes.scores[rows], boxes.track_ids[rows]
        if boxes.has_tracks:
            paths = _Tracks(times, corners, scores, tracks, every / 2)
            yield lambda time, _: paths.at(time)
        else:
            yield lambda time, _: _nearest(times, corners, scores, time, every / 2)


class _Tracks:
    """The paths of persons; arguments are columns ordered by time."""

    def __init__(
        self,
        times: np.ndarray,
        boxes: np.ndarray,
        scores: np.ndarray,
        tracks: np.ndarray,
        within: float,
    ):
        steps = np.diff(np.unique(times))
        # A path goes on for half a step of the file behind its ends.
        self._within = min(within, float(np.median(steps)) / 2) if len(steps) else within
        numbers, first = np.unique(tracks, return_index=True)
        self._paths = [
            (int(number), times[rows], boxes[rows], scores[rows])
            for number in numbers[np.argsort(first)]
            for rows in [np.flatnonzero(tracks == number)]
        ]

    def at(self, time: float) -> PersonsAt:
        """Return the persons at a time."""
        found = []
        for number, times, boxes, scores in self._paths:
            right = int(np.searchsorted(times, time - _TIMES_EQUAL))
            left = right - 1
            if 0 < right < len(times) and times[right] - times[left] <= LONGEST_GAP:
                share = (time - times[left]) / (times[right] - times[left])
                share = min(max(share, 0.0), 1.0)
                box = boxes[left] + share * (boxes[right] - boxes[left])
                found.append((number, box, scores[left] + share * (scores[right] - scores[left])))
                continue
            near = [k for k in (left, right) if 0 <= k < len(times)]
            nearest = min(near, key=lambda k: abs(times[k] - time))
            if abs(times[nearest] - time) <= self._within + _TIMES_EQUAL:
                found.append((number, boxes[nearest], scores[nearest]))
        numbers, corners, probabilities = zip(*found) if found else ((), (), ())
        return PersonsAt(
            np.array(corners).reshape(-1, 4), np.array(probabilities), np.array(numbers, np.int64)
        )


def folder_reader(
    folder: Path, format: str = "", images: Path | None = None
) -> Callable[[str], PersonBoxes]:
    """Return what reads the boxes of a video from a folder with a file for each.

    A file is called as its video with another ending; ``NAME/gt/gt.txt`` and ``NAME/det/det.txt``
    are understood, too.

    Args:
        folder: of the files.
        format: of all of them; "": found by the content.
        images: see :func:`tubedet.data.person_boxes.read_person_boxes`.
    """

    def read(name: str) -> PersonBoxes:
        names = sorted(os.listdir(folder))
        found = [folder / n for n in names if n.partition(".")[0] == name or Path(n).stem == name]
        found = [path for path in found if path.is_file()]
        found += [path for inner in _IN_FOLDERS if (path := folder / name / inner).is_file()]
        if len(found) != 1:
            shown = " and ".join(path.name for path in found[:3]) or f"no file {name}.*"
            raise UserError(
                f"{folder}: {shown} for the video {name!r}; one file of person boxes is expected"
            )
        return read_person_boxes(found[0], format, images=images)

    return read


def as_box_source(
    value: PersonBoxSource | PersonBoxes | Callable[[np.ndarray], Any] | None,
) -> PersonBoxSource | None:
    """Return what finds persons.

    Args:
        value: a source, the boxes of a file, a function of a picture (see :class:`ImageDetector`),
            or None.

    Raises:
        TypeError: if it is none of these.
    """
    if value is None or isinstance(value, PersonBoxSource):
        return value
    if isinstance(value, PersonBoxes):
        return FileBoxes(value)
    if callable(value):
        return ImageDetector(value)
    raise TypeError(
        "person_boxes must be a PersonBoxSource, PersonBoxes or a function of a picture, got "
        f"{type(value).__name__}"
    )


def _nearest(
    times: np.ndarray, boxes: np.ndarray, scores: np.ndarray, time: float, within: float
) -> PersonsAt:
    if not len(times):
        return PersonsAt(np.empty((0, 4)), np.empty(0))
    right = min(int(np.searchsorted(times, time)), len(times) - 1)
    left = max(right - 1, 0)
    nearest = min((times[left], times[right]), key=lambda t: abs(t - time))
    begin = end = 0
    if abs(nearest - time) <= within + _TIMES_EQUAL:
        begin, end = np.searchsorted(times, [nearest - _TIMES_EQUAL, nearest + _TIMES_EQUAL])
    return PersonsAt(boxes[begin:end], scores[begin:end])


def _check_times(
    boxes: PersonBoxes, times: np.ndarray, source: FrameSource, tolerance: float
) -> None:
    """Say how many boxes lie outside of a video; none may lie within."""
    if source.duration is None or not len(times):
        return
    outside = (times < -tolerance) | (times > source.duration + tolerance)
    if not outside.any():
        return
    first = times[outside][0]
    message = (
        f"{boxes.source}: {np.count_nonzero(outside)} of {len(times)} boxes of {source.name!r} lie "
        f"outside of its {source.duration:.1f} seconds, the first at {first:.1f} s"
    )
    if outside.all():
        raise UserError(
            f"{message}; if the file counts from another second than 0, give the one at which the "
            "video begins, --boxes-start-second"
        )
    logger.warning(message)
