"""The persons at the key frames of a video, one json object per line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from detectron2.structures import Instances

from .key_frame_writer import PersonsWriter, actions_by_score

if TYPE_CHECKING:
    from tubedet.inference.video_detector import KeyFrameResult


class JsonLinesWriter(PersonsWriter):
    """Write a line per key frame, in order, also for those without a person.

    A line is::

        {"video": name, "time": seconds since the first frame, "width": pixels, "height": pixels,
         "persons": [{"id": number, "box": [x1, y1, x2, y2] in pixels, "score": probability,
                      "actions": [{"name": name, "id": AVA's id, from 1, "score": score}, ...]}]}

    Persons have the id of their track and the action scores smoothed along it. Their actions come
    in the order of the scores.

    Arguments are those of :class:`.PersonsWriter`.
    """

    def write(self, result: KeyFrameResult, persons: Instances) -> None:
        """See :meth:`KeyFrameWriter.write`."""
        line = key_frame_record(
            self.video, result.time, persons, self.action_names, min_score=self.min_score
        )
        json.dump(line, self._stream, allow_nan=False)
        self._stream.write("\n")
        self._stream.flush()  # whoever reads a pipe need not wait for more lines


def key_frame_record(
    video: str,
    time: float,
    persons: Instances,
    action_names: Sequence[str],
    *,
    min_score: float = 0.05,
) -> dict:
    """Return the object of a line, see :class:`JsonLinesWriter`.

    Args:
        video: its name.
        time: of the key frame, seconds.
        persons: those to write, on the CPU. Without ``person_ids`` they have no "id".
        action_names: A names.
        min_score: actions with a lower score are left out.
    """
    height, width = persons.image_size
    return {
        "video": video,
        "time": round(time, 6),
        "width": width,
        "height": height,
        "persons": [_person(persons, row, action_names, min_score) for row in range(len(persons))],
    }


def _person(persons: Instances, row: int, action_names: Sequence[str], min_score: float) -> dict:
    track = {"id": persons.person_ids[row].item()} if persons.has("person_ids") else {}
    return {
        **track,
        "box": [round(x, 2) for x in persons.pred_boxes.tensor[row].tolist()],
        "score": round(persons.scores[row].item(), 4),
        "actions": [
            {"name": action_names[action], "id": action + 1, "score": score}
            for action, score in actions_by_score(persons.action_scores[row], min_score)
        ],
    }
