"""Read csvs in the form of AVA, as several tools write them."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tubedet.data.annotations.ava_csv import AVATable, read_ava_csv
from tubedet.data.annotations.text import AnnotationError, is_number, open_text

from .labels import Labels, PersonBox, is_video_name

_LARGEST_TIME = 10**7
_LARGEST_FRACTION = 2.0  # boxes may reach beyond the frame a little
_LARGEST_PIXEL = 10**6
_LARGEST_PERSON = 2**53
_SLIP_SHARE = 0.5  # of the boxes
_PIXEL_SHARE = 0.9  # of the boxes; the others are tiny ones at the left upper corner

NameVideo = Callable[[str, float], "str | None"]


def read_ava_rows(
    path: Path,
    names: dict[int, str],
    name_video: NameVideo,
    *,
    first_frame: int | None = None,
) -> Labels:
    """Read ``video,time,x1,y1,x2,y2,action[,person]`` and ``video,time`` for nobody.

    Rows of the same box at the same moment are one person. A person number below 0 is none, and so
    is one that all rows have in common. A first line of column names is passed over.

    Args:
        path: the csv.
        names: actions by their numbers in the csv; rows of other numbers are counted, and their
            persons have no action.
        name_video: turns a video of the csv and a time into the name of the stored video; None
            leaves the row out.
        first_frame: number of the first frame, if times are numbers of frames; None: seconds.

    Returns:
        Boxes by seconds, or by frames.

    Raises:
        AnnotationError: if a row cannot be used; the message names file and line.
        OSError: if the file cannot be read.
    """
    labels = Labels(class_names=list(names.values()), in_seconds=first_frame is None)
    table = _read_table(path, labels)
    if not len(table) and not table.empty_key_frames:
        raise AnnotationError(f"{path}: no rows")
    _check_times(table, first_frame)
    labels.in_fractions = _are_fractions(table, labels)
    persons = _person_ids(table, labels, required=first_frame is not None)
    areas = _have_area(table)
    found: dict[tuple, list[str]] = {}
    lines: dict[tuple, int] = {}
    rows = zip(
        table.video_index.tolist(),
        table.timestamps.tolist(),
        map(tuple, table.boxes.tolist()),
        table.action_ids.tolist(),
        persons,
        areas.tolist(),
        table.lines.tolist(),
    )
    shift = 0 if first_frame is None else 1 - first_frame
    for video, time, box, action, person, has_area, line in rows:
        if (video_id := name_video(table.videos[video], time)) is None:
            continue
        _check_name(path, line, video_id)
        moment = video_id, time + shift
        if not has_area:
            labels.unclear.add(moment)
            labels.remarks["boxes without an area: left out, with their moments"] += 1
            continue
        key = (*moment, box, person)
        lines.setdefault(key, line)
        actions = found.setdefault(key, [])
        if action in names:
            actions.append(names[action])
        elif action == 0:
            raise AnnotationError(
                f"{path}:{line}: the action 0, which the names do not have: they must be counted "
                "as the csv does"
            )
        else:
            labels.remarks[f"rows of the action {action}, which has no name: left out"] += 1
    labels.boxes = [
        PersonBox(video_id, time, box, tuple(dict.fromkeys(actions)), person)
        for (video_id, time, box, person), actions in found.items()
    ]
    _check_persons(path, labels, list(lines.values()))
    for (video, time), line in zip(table.empty_key_frames, table.empty_lines):
        if (video_id := name_video(video, time)) is not None:
            _check_name(path, line, video_id)
            labels.looked_at.add((video_id, time + shift))
    return labels


def looks_like_ava(head: str) -> str:
    """Say what shows that a file has such rows.

    Args:
        head: its first characters.

    Returns:
        the sign; "" for other files.
    """
    rows = [next(csv.reader([line])) for line in head.splitlines()[:20] if line.strip()]
    if rows and _is_header(rows[0]):
        rows = rows[1:]
    boxes = [row for row in rows if len(row) in (7, 8)]
    if not boxes or any(
        len(row) not in (2, 7, 8) or not row[0].strip() or not all(map(is_number, row[1:]))
        for row in rows
    ):
        return ""
    # Videos may have numbers as names; MOT files begin with a number, too, and count pixels.
    if all(is_number(row[0]) for row in boxes) and any(float(v) > 1 for v in boxes[0][2:6]):
        return ""
    return f"its {len(boxes[0])} columns, a video and numbers"


def _read_table(path: Path, labels: Labels) -> AVATable:
    with open_text(path) as stream:
        header = next(csv.reader([stream.readline(10_000).strip()]), [])
    has_header = _is_header(header)
    if has_header:
        _check_header(path, header, labels)

    def pass_over_header(error: AnnotationError) -> None:
        if not has_header or not str(error).startswith(f"{path}:1: "):
            raise error

    table = read_ava_csv(path, ava_kinetics=True, on_error=pass_over_header)
    return table


def _check_header(path: Path, header: list[str], labels: Labels) -> None:
    labels.remarks["lines of column names: passed over"] += 1
    if len(header) == 7 and "person" in header[6].lower():
        raise AnnotationError(f"{path}:1: column 7 is called {header[6]!r}: there are no actions")
    if labels.in_seconds and "frame" in header[1].lower() and "time" not in header[1].lower():
        labels.remarks[
            f"column 2 is called {header[1]!r} and read as seconds; say --first-frame 0 or 1 if "
            "it has numbers of frames"
        ] += 1


def _check_name(path: Path, line: int, video_id: str) -> None:
    if not is_video_name(video_id):
        raise AnnotationError(f"{path}:{line}: {video_id[:80]!r} is no name of a video")


def _check_times(table: AVATable, first_frame: int | None) -> None:
    lines = [*table.lines.tolist(), *table.empty_lines]
    times = np.array([*table.timestamps.tolist(), *(time for _, time in table.empty_key_frames)])
    bad = (times < (first_frame or 0)) | (times >= _LARGEST_TIME)
    if first_frame is not None:
        bad |= times % 1 != 0
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        expected = "a second" if first_frame is None else f"a frame from {first_frame} on"
        raise AnnotationError(
            f"{table.source}:{lines[row]}: the time {times[row]:g}, expected {expected}"
        )


def _are_fractions(table: AVATable, labels: Labels) -> bool:
    """Tell fractions from pixels; the file must be clear about it."""
    large = (np.abs(table.boxes) > _LARGEST_FRACTION).any(axis=1)
    if not large.any():
        return True
    if large.mean() < _PIXEL_SHARE or np.abs(table.boxes).max() > _LARGEST_PIXEL:
        line = table.lines[large].min()
        raise AnnotationError(
            f"{table.source}:{line}: a box beyond the frame, while others are fractions of it"
        )
    labels.remarks["boxes in pixels, not in fractions of the frame"] += len(table)
    return False


def _have_area(table: AVATable) -> np.ndarray:
    sides = table.boxes[:, 2:] - table.boxes[:, :2]
    inverted = (sides < 0).any(axis=1)
    if inverted.any():
        line = table.lines[inverted].min()
        raise AnnotationError(f"{table.source}:{line}: not a box: x1 <= x2 and y1 <= y2 must hold")
    return (sides > 0).all(axis=1)


def _person_ids(table: AVATable, labels: Labels, *, required: bool) -> list[int | None]:
    """Return the last column as far as it tells persons apart."""
    last = table.last_column
    scores = ~np.isnan(last) & ((last % 1 != 0) | (np.abs(last) >= _LARGEST_PERSON))
    if scores.any():
        line = table.lines[scores].min()
        raise AnnotationError(
            f"{table.source}:{line}: column 8 is no number of a person; a score of predictions?"
        )
    known = ~np.isnan(last) & (last >= 0)
    if required and not known.all():
        line = table.lines[~known].min()
        raise AnnotationError(
            f"{table.source}:{line}: numbers of frames need a person's number in column 8"
        )
    if not required and known.any() and len(np.unique(last[known])) == 1 and len(table) > 1:
        moments = set(zip(table.video_index.tolist(), table.timestamps.tolist()))
        boxes = {
            (*key, *box)
            for *key, box in zip(
                table.video_index.tolist(),
                table.timestamps.tolist(),
                map(tuple, table.boxes.tolist()),
            )
        }
        if len(boxes) > len(moments):
            labels.remarks["column 8 has the same number in all rows: it is no person's"] += 1
            known[:] = False
    return [int(value) if ok else None for value, ok in zip(last.tolist(), known.tolist())]


def _check_persons(path: Path, labels: Labels, lines: list[int]) -> None:
    """Find persons in two places at once: a tracker's slips, or numbers that mean something else.

    Seconds do without numbers, so a few slips lose theirs. With numbers of frames, persons may be
    counted for each action, as in the csv of MultiSports.
    """
    places: dict[tuple, list[int]] = defaultdict(list)
    for row, box in enumerate(labels.boxes):
        if box.person_id is not None:
            video_id, time = box.moment
            places[video_id, time, box.person_id].append(row)
    shared = {key: rows for key, rows in places.items() if len(rows) > 1}
    if not shared:
        return
    slips = {row for rows in shared.values() for row in rows}
    actions = [
        [name for row in rows for name in labels.boxes[row].actions] for rows in places.values()
    ]
    per_action = not any(len(set(names)) < len(names) for names in actions)
    if labels.in_seconds and len(slips) <= _SLIP_SHARE * len(labels.boxes):
        labels.remarks[
            "boxes whose person has another box at that moment: its number is dropped"
        ] += len(slips)
        labels.boxes = [
            box._replace(person_id=None) if row in slips else box
            for row, box in enumerate(labels.boxes)
        ]
    elif per_action and not labels.in_seconds:
        _number_by_action(labels)
    else:
        first, second = min((rows for rows in shared.values()), key=lambda rows: lines[rows[1]])[:2]
        raise AnnotationError(
            f"{path}:{lines[second]}: person {labels.boxes[second].person_id} has another box at "
            f"this moment, in line {lines[first]}; are the times right? If column 8 is no number "
            "of a person, leave it out"
        )


def _number_by_action(labels: Labels) -> None:
    numbers: dict[tuple, int] = {}
    labels.boxes = [
        box._replace(
            actions=(name,) if name else (),
            person_id=numbers.setdefault((box.video_id, box.person_id, name), len(numbers)),
        )
        for box in labels.boxes
        for name in box.actions or ("",)
    ]
    labels.remarks["persons that are counted for each action: told apart by both"] += len(numbers)


def _is_header(cells: list[str]) -> bool:
    return len(cells) in (2, 7, 8) and not any(map(is_number, cells[1:]))
