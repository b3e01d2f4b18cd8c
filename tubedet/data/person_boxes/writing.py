"""Write person boxes in the form that most programs of the field read."""

from __future__ import annotations

import csv
import os

from tubedet.data.annotations.text import AnnotationError
from tubedet.files.atomic_writing import open_atomically

from .table import PersonBoxes


def write_person_boxes(boxes: PersonBoxes, path: str | os.PathLike) -> None:
    """Write a csv of ``video,second,x1,y1,x2,y2,label,score``, as SlowFast has it.

    A box with several labels has a row for each, one without any has an empty label. Numbers of
    tracks are not written.

    Args:
        boxes: with seconds and fractions of the frame.
        path: the csv; it appears when it is complete.

    Raises:
        AnnotationError: if the boxes have frames or pixels, which the form does not know.
        OSError: if it cannot be written.
    """
    if not boxes.in_seconds or boxes.in_pixels:
        raise AnnotationError(
            f"{boxes.source}: {boxes.format} counts "
            + ("pixels" if boxes.in_seconds else "frames")
            + "; only boxes by seconds, as fractions of the frame, can be written as a csv"
        )
    with open_atomically(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        for video, time, box, score, actions in zip(
            boxes.video_index.tolist(),
            boxes.times.tolist(),
            boxes.boxes.tolist(),
            boxes.scores.tolist(),
            boxes.actions,
        ):
            numbers = [f"{time:.9g}", *(f"{edge:.9g}" for edge in box)]
            for label in actions or ("",):
                writer.writerow([boxes.videos[video], *numbers, label, f"{score:.9g}"])
