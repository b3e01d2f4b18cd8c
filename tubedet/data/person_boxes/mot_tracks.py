"""Read tracks and detections in the form of MOTChallenge."""

from __future__ import annotations

from pathlib import Path

from tubedet.data.annotations.text import AnnotationError
from tubedet.data.importers.labels import Labels
from tubedet.data.importers.mot import read_mot_rows
from tubedet.data.importers.mot_files import read_sequence

from .table import BoxRows, PersonBoxes

NAME = "mot"


def read_mot_boxes(path: Path, *, first_frame: int = 1) -> PersonBoxes:
    """Read rows of ``frame,id,left,top,width,height,score,...`` about one video.

    The ids are those of tracks; -1 belongs to none. Column 7 is the score; 0 means in ground truth
    that the row is not to be considered, and -1 that there is no score, which counts as 1. Boxes
    are in pixels, or fractions where a ``seqinfo.ini`` tells the size.

    Args:
        path: the file.
        first_frame: number of the first frame, 0 or 1.

    Raises:
        AnnotationError: if a row breaks the format; the message names its line.
        OSError: if a file cannot be read.
    """
    sequence = read_sequence(path)
    size = None if sequence is None else sequence.size
    width, height = size or (1, 1)
    labels = Labels()
    rows = BoxRows(path)
    for row in read_mot_rows(path, first_frame, labels):
        rows.add_moment("", row.frame)
        if row.flag == 0:
            rows.remarks["rows whose column 7 is 0: left out"] += 1
            continue
        score = 1.0 if row.flag == -1 else row.flag
        if not 0 <= score <= 1:
            raise AnnotationError(
                f"{path}:{row.line}: the score {score:g} in column 7, expected 0 to 1: divide the "
                "scores by the highest one"
            )
        x1, y1, x2, y2 = row.box
        box = (x1 / width, y1 / height, x2 / width, y2 / height)
        rows.add("", row.frame, box, score, track_id=max(row.person, -1))
    rows.remarks.update(labels.remarks)
    if not len(rows):
        raise AnnotationError(f"{path}: no boxes")
    return rows.finish(NAME, in_seconds=False, in_pixels=size is None)
