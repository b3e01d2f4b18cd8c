"""The persons at the key frames of a video, one json object per line."""

from __future__ import annotations

import json
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
        height, width = persons.image_size
        line = {
            "video": self.video,
            "time": round(result.time, 6),
            "width": width,
            "height": height,
            "persons": [self._person(persons, row) for row in range(len(persons))],
        }
        json.dump(line, self._stream, allow_nan=False)
        self._stream.write("\n")

    def _person(self, persons: Instances, row: int) -> dict:
        return {
            "id": persons.person_ids[row].item(),
            "box": [round(x, 2) for x in persons.pred_boxes.tensor[row].tolist()],
            "score": round(persons.scores[row].item(), 4),
            "actions": [
                {"name": self.action_names[action], "id": action + 1, "score": score}
                for action, score in actions_by_score(persons.action_scores[row], self.min_score)
            ],
        }
