"""The persons at the key frames of a video as one json in the format of COCO."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from detectron2.structures import Instances

from tubedet.evaluation.prediction_csv import format_timestamp

from .key_frame_writer import PersonsWriter, actions_by_score

if TYPE_CHECKING:
    from tubedet.inference.video_detector import KeyFrameResult


class CocoJsonWriter(PersonsWriter):
    """A json with ``images``, ``annotations`` and ``categories``, which pycocotools reads.

    An image is a key frame, with ``video_id`` and ``timestamp`` (seconds since the first frame); a
    category is an action, with AVA's id (from 1). A person who does k actions has k annotations of
    one ``bbox`` (x, y, width, height in pixels) and ``track_id`` and their ``score``.

    Arguments are those of :class:`.PersonsWriter`.
    """

    def __init__(
        self, path: str | PathLike, video: str, action_names: Sequence[str], **options: float
    ):
        super().__init__(path, video, action_names, **options)
        # The images come first in the file, the annotations wait beside it.
        self._annotations = self._resources.enter_context(
            tempfile.TemporaryFile("w+", encoding="utf-8", dir=self.path.parent)
        )
        self._num_images = self._num_annotations = 0
        categories = [{"id": k, "name": name} for k, name in enumerate(action_names, start=1)]
        self._stream.write(f'{{"categories": {json.dumps(categories)},\n"images": [')

    def write(self, result: KeyFrameResult, persons: Instances) -> None:
        """See :meth:`KeyFrameWriter.write`."""
        height, width = persons.image_size
        self._num_images += 1
        image = {
            "id": self._num_images,
            "file_name": f"{self.video}/{format_timestamp(result.time)}.jpg",
            "video_id": self.video,
            "timestamp": round(result.time, 6),
            "width": width,
            "height": height,
        }
        self._stream.write(("" if self._num_images == 1 else ",") + "\n" + json.dumps(image))
        for row in range(len(persons)):
            self._write_annotations(persons, row)

    def finish(self) -> None:
        """See :meth:`KeyFrameWriter.finish`."""
        self._stream.write('],\n"annotations": [')
        self._annotations.seek(0)
        shutil.copyfileobj(self._annotations, self._stream)
        self._stream.write("]}\n")

    def _write_annotations(self, persons: Instances, row: int) -> None:
        x1, y1, x2, y2 = persons.pred_boxes.tensor[row].tolist()
        box = [round(x, 2) for x in (x1, y1, x2 - x1, y2 - y1)]
        for action, score in actions_by_score(persons.action_scores[row], self.min_score):
            self._num_annotations += 1
            annotation = {
                "id": self._num_annotations,
                "image_id": self._num_images,
                "category_id": action + 1,
                "bbox": box,
                "area": round(box[2] * box[3], 2),
                "iscrowd": 0,
                "score": score,
                "track_id": persons.person_ids[row].item(),
            }
            separator = "" if self._num_annotations == 1 else ","
            self._annotations.write(separator + "\n" + json.dumps(annotation, allow_nan=False))
