"""Read tracks of MOTChallenge, as CVAT and trackers write them, too: ``gt.txt``."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tubedet.data.annotations.text import (
    AnnotationError,
    csv_rows,
    finite_float,
    is_number,
    open_text,
    parse_cell,
)
from tubedet.data.video.media_paths import video_paths

from .label_names import read_label_names
from .labels import ImportFormat, ImportOptions, Labels, PersonBox
from .mot_files import Sequence, TrackActions, read_sequence

_LARGEST = 10**7  # coordinate, number of a frame or a person
_COLUMNS = ("frame", "id", "left", "top", "width", "height", "flag", "class")


class MotRow(NamedTuple):
    """A row of the file.

    Attributes:
        line: where it stands, from 1.
        frame: number of the frame, from 1.
        person: number of the track; below 0 for none.
        box: x1, y1, x2, y2 in pixels.
        flag: column 7, a flag in ground truth and a score in detections.
        class_id: column 8; None if there is none.
    """

    line: int
    frame: int
    person: int
    box: tuple[float, float, float, float]
    flag: float
    class_id: int | None


def read_mot(path: Path, options: ImportOptions) -> Labels:
    """Read rows of ``frame,id,left,top,width,height,flag,class,visibility``.

    Rows of 7 or 10 columns have no class. Rows whose flag is 0 are not to be considered: they are
    left out and counted, and their frames are not said to be empty. With a ``seqinfo.ini`` all
    frames of the sequence have been looked at, else those with a row.

    Args:
        path: the file.
        options: ``actions``, a csv of what each track does, see :class:`.TrackActions`; else the
            class of a row is its action, named by ``label_map`` or a ``labels.txt`` beside the
            file; ``first_frame`` if it is not 1; ``video``.

    Returns:
        Boxes in pixels by numbers of frames.

    Raises:
        AnnotationError: if a row cannot be used; the message names file and line.
        OSError: if a file cannot be read.
    """
    sequence = read_sequence(path)
    video_id = options.video or _video_id(path, sequence, options.videos)
    labels = Labels()
    first_frame = 1 if options.first_frame is None else options.first_frame
    rows = list(read_mot_rows(path, first_frame, labels))
    if not rows:
        raise AnnotationError(f"{path}: no rows")
    rows = _number_single_boxes(path, rows, labels)
    _check_rows(path, rows, sequence)
    names: dict[int, str] = {}
    actions = None
    if options.actions is not None:
        actions = TrackActions(options.actions, first_frame)
        actions.check({row.person for row in rows}, path)
    else:
        names = _class_names(path, options)
        labels.class_names = list(names.values())
    if sequence is not None:
        labels.looked_at = {(video_id, number) for number in range(1, sequence.length + 1)}
        if sequence.size is not None:
            labels.sizes[video_id] = sequence.size
    scores = sum(row.flag not in (0, 1, -1) for row in rows)
    if scores:
        labels.remarks["scores in column 7: not looked at"] += scores
    for row in rows:
        if row.flag == 0:
            labels.unclear.add((video_id, row.frame))
            labels.remarks["rows with the flag 0 (not to be considered): left out"] += 1
        elif row.box[0] == row.box[2] or row.box[1] == row.box[3]:
            labels.unclear.add((video_id, row.frame))
            labels.remarks["boxes without an area: left out, with their frames"] += 1
        else:
            does = (
                _action(path, row, names) if actions is None else actions.of(row.person, row.frame)
            )
            labels.boxes.append(PersonBox(video_id, row.frame, row.box, does, row.person))
    if actions is not None:
        labels.remarks.update(actions.remarks())
    return labels


def _sign(path: Path, head: str) -> str:
    lines = [line for line in head.splitlines()[:50] if line.strip() and line[0] != "#"]
    rows = [[cell.strip() for cell in next(csv.reader([line]))] for line in lines[:20]]
    if rows and all(
        len(row) in (9, 10) and all(map(is_number, row)) and float(row[0]) % 1 == 0 for row in rows
    ):
        return f"its {len(rows[0])} columns of numbers, the first one a frame"
    return ""


MOT = ImportFormat(
    name="mot",
    summary="tracks of MOTChallenge, as CVAT ('MOT 1.1') and trackers write them, too: SEQ/gt/"
    "gt.txt of frame,id,left,top,width,height,flag,class,visibility; the class is the action, "
    "named by labels.txt or --label-map, or the actions stand in a csv, --actions",
    read=read_mot,
    sign=_sign,
    options=frozenset({"video", "first_frame", "label_map", "actions"}),
)


def read_mot_rows(path: Path, first_frame: int, labels: Labels) -> Iterator[MotRow]:
    """Read the rows one by one.

    Args:
        path: the file.
        first_frame: number of the first frame, 0 or 1.
        labels: gets remarks.

    Yields:
        MotRow: in the order of the file.

    Raises:
        AnnotationError: if a row breaks the format; the message names its line.
        OSError: if the file cannot be read.
    """
    with open_text(path) as stream:
        for line, cells in csv_rows(stream, str(path)):
            if not "".join(cells).strip() or cells[0].lstrip().startswith("#"):
                continue
            where = f"{path}:{line}"
            if not 7 <= len(cells) <= 10:
                raise AnnotationError(
                    f"{where}: {len(cells)} columns, expected 7 to 10 ({','.join(_COLUMNS)},...)"
                )
            if line == 1 and not any(map(is_number, cells)):
                labels.remarks["lines of column names: passed over"] += 1
                continue
            values = [
                parse_cell(finite_float, cell.strip(), where=where, column=f"column {number}")
                for number, cell in enumerate(cells, start=1)
            ]
            if max(map(abs, values)) >= _LARGEST or any(v % 1 for v in values[:2]):
                raise AnnotationError(f"{where}: expected whole numbers of a frame and a person")
            frame, person = int(values[0]), int(values[1])
            if frame < first_frame:
                raise AnnotationError(
                    f"{where}: the frame {frame}, but the first one is {first_frame}"
                    + ("; if frames are counted from 0, say --first-frame 0" if frame == 0 else "")
                )
            left, top, width, height = values[2:6]
            if min(width, height) < 0:
                raise AnnotationError(f"{where}: the width or height is below 0")
            # With ten columns, the last three are coordinates in the world.
            class_id = values[7] if len(values) in (8, 9) else -1
            if class_id % 1:
                raise AnnotationError(f"{where}: the class {class_id:g} is no whole number")
            yield MotRow(
                line,
                frame - first_frame + 1,
                person,
                (left, top, left + width, top + height),
                values[6],
                None if class_id == -1 else int(class_id),
            )


def _number_single_boxes(path: Path, rows: list[MotRow], labels: Labels) -> list[MotRow]:
    """Give boxes outside of a track, whose id is -1, numbers that no track has."""
    single = [row for row in rows if row.person < 0]
    if not single:
        return rows
    if len(single) == len(rows) and all(row.class_id is None for row in rows):
        raise AnnotationError(
            f"{path}:{rows[0].line}: the id {rows[0].person}, as all rows have: these are "
            "detections, not tracks of persons; let a tracker link them"
        )
    labels.remarks["boxes outside of a track (id -1): a person for each"] += len(single)
    unused = itertools.count(max(row.person for row in rows) + 1)
    return [row._replace(person=next(unused)) if row.person < 0 else row for row in rows]


def _check_rows(path: Path, rows: list[MotRow], sequence: Sequence | None) -> None:
    lines: dict[tuple[int, int], int] = {}
    for row in rows:
        if sequence is not None and row.frame > sequence.length:
            raise AnnotationError(
                f"{path}:{row.line}: the frame {row.frame}, but {sequence.path} has "
                f"{sequence.length} frames"
            )
        other = lines.setdefault((row.frame, row.person), row.line)
        if other != row.line:
            raise AnnotationError(
                f"{path}:{row.line}: the id {row.person} has a box in this frame already, in line "
                f"{other}"
            )


def _class_names(path: Path, options: ImportOptions) -> dict[int, str]:
    names = options.label_map or path.with_name("labels.txt")
    if options.label_map is None and not names.is_file():
        raise AnnotationError(
            f"{path}: what do the persons do? Give a csv of person,first frame,last frame,action, "
            f"--actions FILE; or, if classes are actions, their names: {names} or --label-map FILE"
        )
    return read_label_names(names)


def _action(path: Path, row: MotRow, names: dict[int, str]) -> tuple[str, ...]:
    if row.class_id is None:
        raise AnnotationError(f"{path}:{row.line}: no class; give the actions, --actions FILE")
    if row.class_id not in names:
        raise AnnotationError(
            f"{path}:{row.line}: the class {row.class_id}, which has no name; there are "
            f"{', '.join(map(str, names))}"
        )
    return (names[row.class_id],)


def _video_id(path: Path, sequence: Sequence | None, folder: Path) -> str:
    """Find which video it is; only a name that the file states, or that is stored, is certain."""
    is_gt = path.parent.name in ("gt", "det")
    name = path.resolve().parent.parent.name if is_gt else path.stem
    frames = "img1"
    if sequence is not None:
        name, frames = sequence.name, sequence.frames or frames
    if (folder / name / frames).is_dir():  # beside gt/ and det/
        return f"{name}/{frames}"
    stored = video_paths([name], frames_dir=str(folder), videos_dir=str(folder))
    if sequence is not None or Path(stored[name]).exists():
        return name
    raise AnnotationError(
        f"{path}: no seqinfo.ini, and no video {name!r} in {folder}: say which video this is, "
        "--video NAME"
    )
