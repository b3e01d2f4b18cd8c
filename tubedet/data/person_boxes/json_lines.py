"""Read the json lines that ``tubedet predict`` writes: a key frame with its persons per line."""

from __future__ import annotations

from pathlib import Path

from tubedet.data.annotations.text import AnnotationError, open_text
from tubedet.data.importers.json_file import parse_json

from .csv_files import LARGEST_TIME, check_score
from .table import BoxRows, PersonBoxes

NAME = "json-lines"
_LONGEST_LINE = 1 << 24  # characters


def read_json_lines(path: Path) -> PersonBoxes:
    """Read boxes, scores and track ids of persons.

    Args:
        path: the file, see :class:`tubedet.inference.writers.json_lines.JsonLinesWriter`.

    Raises:
        AnnotationError: if a line breaks the format; the message names it.
        OSError: if the file cannot be read.
    """
    rows = BoxRows(path)
    number = 0
    with open_text(path) as stream:
        while line := stream.readline(_LONGEST_LINE):
            number += 1
            where = f"{path}:{number}"
            if not line.strip():
                continue
            if len(line) == _LONGEST_LINE:
                raise AnnotationError(f"{where}: a line of more than {_LONGEST_LINE:,} characters")
            key_frame = parse_json(line, where, "the line")
            video, time = key_frame.text("video"), key_frame.number("time")
            width, height = key_frame.whole("width"), key_frame.whole("height")
            if not 0 <= time < LARGEST_TIME or min(width, height) < 1:
                raise AnnotationError(f"{where}: no time from 0 on, or no size of a frame")
            rows.add_moment(video, time)
            for person in key_frame.each("persons"):
                x1, y1, x2, y2 = person.child("box").numbers(4)
                score = person.number("score")
                check_score(score, where)
                track = person.whole("id") if "id" in person else -1
                box = (x1 / width, y1 / height, x2 / width, y2 / height)
                rows.add(video, time, box, score, track_id=max(track, -1))
    return rows.finish(NAME, in_seconds=True)
