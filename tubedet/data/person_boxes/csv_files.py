"""Read csvs with a box per row: those of SlowFast and of AVA, and those that tubedet writes."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from tubedet.data.annotations.ava_csv import MAX_ACTION_ID, read_ava_csv
from tubedet.data.annotations.text import (
    AnnotationError,
    csv_rows,
    finite_float,
    is_number,
    open_text,
    parse_cell,
    whole_number,
)

from .table import BoxRows, PersonBoxes

SLOWFAST, PREDICTIONS, GROUNDTRUTH = "slowfast-csv", "ava-csv", "ava-groundtruth"
LARGEST_TIME = 10**7
_LARGEST_FRACTION = 2.0  # boxes may reach beyond the frame a little
_COLUMNS = "video,second,x1,y1,x2,y2,label,score"
_HEAD_LINES = 200


def csv_kind(head: str) -> str:
    """Tell which csv of boxes a file is; "" for none.

    Args:
        head: its first characters, whole lines.
    """
    rows = [next(csv.reader([line]), []) for line in head.splitlines()[:_HEAD_LINES]]
    rows = [[cell.strip() for cell in row] for row in rows if "".join(row).strip()]
    boxes = [row for row in rows if len(row) in (7, 8)]
    if not boxes or any(len(row) not in (2, 7, 8) for row in rows):
        return ""
    if not all(row[0] and all(map(is_number, row[1:6])) for row in boxes):
        return ""
    if all(is_number(row[0]) for row in boxes) and any(float(v) > 1 for v in boxes[0][2:6]):
        return ""  # a file of MOT
    labels, last = [row[6] for row in boxes], [row[7] for row in boxes if len(row) == 8]
    if not all(map(is_number, last)) or not all(
        label == "" or is_number(label) for label in labels
    ):
        return ""
    if "" in labels:
        return SLOWFAST if len(last) == len(boxes) else ""
    # Scores have decimals, numbers of persons have none.
    has_scores = any(not cell.lstrip("-").isdecimal() for cell in last)
    return PREDICTIONS if has_scores else GROUNDTRUTH


def read_slowfast_csv(path: Path) -> PersonBoxes:
    """Read predicted boxes of SlowFast: ``video,second,x1,y1,x2,y2,label,score``.

    Boxes are fractions of the frame. The label may be empty; such a row is a person without a known
    action. Rows of equal boxes are one box with all labels.

    Args:
        path: the csv, plain or gzip-compressed.

    Raises:
        AnnotationError: if a row breaks the format; the message names its line.
        OSError: if the file cannot be read.
    """
    rows = BoxRows(path)
    with open_text(path) as stream:
        for line, cells in csv_rows(stream, str(path)):
            cells = [cell.strip() for cell in cells]
            if not "".join(cells):
                continue
            where = f"{path}:{line}"
            if len(cells) != 8:
                raise AnnotationError(f"{where}: {len(cells)} columns, expected 8 ({_COLUMNS})")
            time, *box, score = _numbers(cells, where)
            labels: tuple[int, ...] = ()
            if cells[6]:
                label = parse_cell(whole_number, cells[6], where=where, column="column 7 (label)")
                _check_action(label, where)
                labels = (label,)
            _check_row(cells[0], time, box, score, where)
            rows.add(cells[0], time, box, score, actions=labels)
    return rows.finish(SLOWFAST, in_seconds=True)


def read_prediction_csv(path: Path) -> PersonBoxes:
    """Read predictions in the form of AVA, as ``tubedet predict`` writes them, too.

    A row is ``video,second,x1,y1,x2,y2,action,score``. A box has a row for each action; the highest
    of these scores becomes that of the person.

    Args:
        path: the csv, plain or gzip-compressed.

    Raises:
        AnnotationError: if a row breaks the format; the message names its line.
        OSError: if the file cannot be read.
    """
    return _read_ava(path, PREDICTIONS)


def read_groundtruth_csv(path: Path) -> PersonBoxes:
    """Read ground truth in the form of AVA: every annotated person has the score 1.

    A row is ``video,second,x1,y1,x2,y2,action[,person]``.

    Args:
        path: the csv, plain or gzip-compressed.

    Raises:
        AnnotationError: if a row breaks the format; the message names its line.
        OSError: if the file cannot be read.
    """
    return _read_ava(path, GROUNDTRUTH)


def _read_ava(path: Path, kind: str) -> PersonBoxes:
    table = read_ava_csv(path, ava_kinetics=True, skip_blank=True)
    rows = BoxRows(path)
    is_truth = kind == GROUNDTRUTH
    scores = np.ones(len(table)) if is_truth else table.scores
    for video, time, box, action, score, line in zip(
        table.video_index.tolist(),
        table.timestamps.tolist(),
        table.boxes.tolist(),
        table.action_ids.tolist(),
        scores.tolist(),
        table.lines.tolist(),
    ):
        where = f"{path}:{line}"
        _check_row(table.videos[video], time, box, score, where)
        _check_action(action, where)
        actions = (action,) if is_truth else ()
        rows.add(table.videos[video], time, box, score, actions=actions)
    for video, time in table.empty_key_frames:
        rows.add_moment(video, time)
    if is_truth and not np.isnan(table.last_column).all():
        rows.remarks["column 8 has whole numbers: persons, not scores; all scores are 1"] += 1
    return rows.finish(kind, in_seconds=True)


def _numbers(cells: list[str], where: str) -> list[float]:
    """Return the second, the corners and the score of a row of SlowFast."""
    columns = (1, 2, 3, 4, 5, 7)
    try:
        values = [float(cells[k]) for k in columns]
    except ValueError:
        values = [math.nan]
    if all(map(math.isfinite, values)):
        return values
    return [  # slower, and says what is wrong
        parse_cell(finite_float, cells[k], where=where, column=f"column {k + 1}") for k in columns
    ]


def check_score(score: float, where: str) -> None:
    """Refuse a score that is no probability.

    Args:
        score: of a box.
        where: file and line.

    Raises:
        AnnotationError: if it is not within 0 and 1.
    """
    if not 0 <= score <= 1:
        raise AnnotationError(
            f"{where}: the score {score:g}, expected 0 to 1: the probability of a person"
        )


def _check_action(action: int, where: str) -> None:
    if not 0 <= action <= MAX_ACTION_ID:
        raise AnnotationError(f"{where}: the action {action}, expected 1 to {MAX_ACTION_ID}")


def _check_row(video: str, time: float, box: list[float], score: float, where: str) -> None:
    if not video:
        raise AnnotationError(f"{where}: no video in column 1")
    if not 0 <= time < LARGEST_TIME:
        raise AnnotationError(f"{where}: the time {time:g}, expected a second from 0 on")
    if max(map(abs, box)) > _LARGEST_FRACTION:
        shown = ", ".join(f"{edge:g}" for edge in box)
        raise AnnotationError(
            f"{where}: the box {shown}; expected fractions of the frame: divide x by its width and "
            "y by its height"
        )
    check_score(score, where)
