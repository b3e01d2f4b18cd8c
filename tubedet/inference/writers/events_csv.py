"""Who does what from when to when in a video, as a table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from detectron2.structures import Instances

from tubedet.inference.action_intervals import ActionInterval, IntervalCollector
from tubedet.inference.result_tables import person_actions, person_ids

from .key_frame_writer import PersonsWriter

if TYPE_CHECKING:
    from tubedet.inference.video_detector import KeyFrameResult


class EventsCsvWriter(PersonsWriter):
    """A csv with a line for each interval in which a person does something.

    Its columns are ``video,person_id,action,start,end,score``, see :class:`.ActionInterval`: key
    frames in a row are one interval, times are seconds since the first frame, and the score is the
    highest one. Lines come in the order of ``start``. Memory grows with their number.

    Args:
        path: the file; missing folders are made, an older file is replaced at the end.
        video: name of the video.
        action_names: A names; name k is that of the 0-based action k.
        every: seconds between key frames.
        duration: of the video, seconds; None: not known.
        min_score: lowest score of an action.
    """

    def __init__(
        self,
        path: str | PathLike,
        video: str,
        action_names: Sequence[str],
        *,
        every: float,
        duration: float | None = None,
        min_score: float = 0.5,
    ):
        super().__init__(path, video, action_names, min_score=min_score)
        self._collector = IntervalCollector(video, every=every, duration=duration)

    def write(self, result: KeyFrameResult, persons: Instances) -> None:
        """See :meth:`KeyFrameWriter.write`."""
        ids = person_ids(persons)
        for row, action, score in person_actions(persons, self.min_score):
            self._collector.add(result.time, ids[row], self.action_names[action], score)

    def finish(self) -> None:
        """See :meth:`KeyFrameWriter.finish`."""
        table = csv.writer(self._stream, lineterminator="\n")
        table.writerow(ActionInterval._fields)
        for interval in self._collector.intervals():
            table.writerow(
                (
                    *interval[:3],
                    *(f"{time:.3f}" for time in (interval.start, interval.end)),
                    f"{interval.score:.4f}",
                )
            )
