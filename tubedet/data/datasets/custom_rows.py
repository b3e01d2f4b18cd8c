"""The rows of a custom data set, and the rules that its yaml makes for them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np

from tubedet.data.annotations.ava_csv import AVATable, read_ava_csv, read_timestamps
from tubedet.data.annotations.row_faults import RowFault, box_faults, repeated_rows
from tubedet.data.annotations.text import AnnotationError, OnError, raise_error
from tubedet.data.video.frame_names import FRAME_EXTENSIONS
from tubedet.data.video.media_paths import video_paths
from tubedet.data.video.reader import VIDEO_EXTENSIONS

from .custom_yaml import CustomDataset

END_OF_FRAMES = 2**31  # no video has so many
_LARGEST_PERSON_ID = 2**53
_BOX_ADVICE = "if these are pixels, say 'boxes: pixels'"


def read_table(custom: CustomDataset, *, on_error: OnError = raise_error) -> AVATable:
    """Read the csv; blank lines and spaces around video ids do not count.

    Args:
        custom: the data set.
        on_error: see :func:`.read_ava_csv`.

    Returns:
        The rows, whatever :func:`row_faults` says of them.

    Raises:
        AnnotationError: if a row cannot be read (see ``on_error``).
        OSError: if the file cannot be read.
    """
    table = read_ava_csv(custom.annotations, ava_kinetics=True, skip_blank=True, on_error=on_error)
    return table.with_video_ids(str.strip)


def read_excluded(
    custom: CustomDataset, *, on_error: OnError = raise_error
) -> set[tuple[str, float]]:
    """Read the key frames to leave out, in the same way.

    Args:
        custom: the data set.
        on_error: see :func:`.read_ava_csv`.

    Returns:
        (video id, seconds or frame number); empty without such a csv.

    Raises:
        AnnotationError: if a row cannot be read (see ``on_error``).
        OSError: if the file cannot be read.
    """
    if custom.excluded is None:
        return set()
    excluded = read_timestamps(
        custom.excluded, ava_kinetics=True, skip_blank=True, on_error=on_error
    )
    return {(video_id.strip(), time) for video_id, time in excluded}


def read_checked_table(custom: CustomDataset) -> AVATable:
    """Read the csv and refuse what breaks a rule.

    Args:
        custom: the data set.

    Returns:
        The rows.

    Raises:
        AnnotationError: if a row cannot be read or breaks a rule; the message names its line.
        OSError: if the file cannot be read.
    """
    table = read_table(custom)
    for fault in row_faults(custom, table):
        raise AnnotationError(f"{custom.annotations}:{fault.line}: {fault.message} ({custom.path})")
    return table


def row_faults(custom: CustomDataset, table: AVATable) -> Iterator[RowFault]:
    """Find everything that training and evaluation refuse.

    Args:
        custom: the data set.
        table: its rows.

    Yields:
        RowFault: rule by rule, in file order.
    """
    yield from value_faults(custom, table)
    yield from person_faults(custom, table)
    yield from video_id_faults(custom, table)
    for (video_id, time), line in key_frame_lines(table).items():
        if message := time_fault(custom, time, custom.start_of(video_id)):
            yield RowFault("time", line, message)


def value_faults(custom: CustomDataset, table: AVATable) -> Iterator[RowFault]:
    """Find boxes and action ids that cannot be right.

    Args:
        custom: the data set.
        table: its rows.

    Yields:
        RowFault: one for each.
    """
    yield from box_faults(table, pixels=custom.boxes == "pixels", advice=_BOX_ADVICE)
    unknown = np.flatnonzero(~np.isin(table.action_ids, list(custom.classes)))
    if not len(unknown):
        return
    known = f"'classes' have the ids {_spans(sorted(custom.classes))}"
    advice = ""
    if np.isnan(table.last_column).all():
        advice = "; column 7 is the action id, and a person id may follow in column 8"
    elif np.isin(table.last_column, list(custom.classes)).all():
        advice = "; are action id (column 7) and person id (column 8) exchanged?"
    for row in unknown:
        message = f"action id {table.action_ids[row]}: {known}{advice}"
        yield RowFault("class", int(table.lines[row]), message)


def person_faults(custom: CustomDataset, table: AVATable) -> Iterator[RowFault]:
    """Find rows against the rules about who a person is and what one does in a frame.

    Args:
        custom: the data set.
        table: its rows.

    Yields:
        RowFault: one for each.
    """
    lines, ids = table.lines, table.last_column
    wrong = (ids % 1 != 0) | (np.abs(ids) > _LARGEST_PERSON_ID)
    framed = custom.timestamps == "frames"
    if not framed:
        wrong &= ~np.isnan(ids)
    for row in np.flatnonzero(wrong):
        if framed:
            message = "'timestamps: frames' needs a person id, a whole number, in column 8"
        else:
            message = f"column 8 is a person id, a whole number, not {ids[row]:g}; or leave it out"
        yield RowFault("person", int(lines[row]), message)
    persons = np.column_stack(
        [table.video_index, table.timestamps, table.boxes, np.nan_to_num(ids, nan=-1)]
    )
    rows, twice = np.flatnonzero(~wrong), set()
    if framed:  # linked by its id, a person has one box in a frame
        persons = persons[:, [0, 1, -1]]
        for before, row in repeated_rows(np.column_stack([persons, table.action_ids])[rows]):
            message = (
                f"this person has this action in this frame already, in line {lines[rows[before]]}"
            )
            yield RowFault("person", int(lines[rows[row]]), message)
            twice.add(row)
    for before, row in repeated_rows(persons[rows]) if custom.exclusive else ():
        if row not in twice:
            line = lines[rows[before]]
            message = f"this person has an action already, in line {line}, and 'exclusive' is true"
            yield RowFault("exclusive", int(lines[rows[row]]), message)


def video_id_faults(custom: CustomDataset, table: AVATable) -> Iterator[RowFault]:
    """Find video ids that are no path within the folder of videos.

    Args:
        custom: the data set.
        table: its rows.

    Yields:
        RowFault: one for each video.
    """
    first_lines = first_line_of_videos(table)
    paths = video_paths(first_lines, frames_dir=custom.videos, videos_dir=custom.videos)
    for video_id, line in first_lines.items():
        if "\0" in video_id:
            yield RowFault("row", line, "a NUL character in the video id")
        elif not video_id:
            yield RowFault("unknown-video", line, "the video id is empty")
        elif (wanted := _plain_id(video_id, custom.videos)) != video_id and not (
            _is_relative(video_id) and os.path.exists(paths[video_id])
        ):
            message = (
                f"video {video_id!r}: write {wanted!r}, the path within 'videos' without the ending"
            )
            yield RowFault("unknown-video", line, message)
        elif custom.find_start(video_id) is None:
            message = f"key 'start_second': its csv has no row for the video {video_id!r}"
            yield RowFault("unknown-video", line, message)


def time_fault(custom: CustomDataset, time: float, start: float) -> str | None:
    """Return what is wrong with the time of a key frame, or None.

    Args:
        custom: the data set.
        time: seconds, or the number of a frame.
        start: second at which the video begins.
    """
    if custom.timestamps == "seconds":
        if time < start:
            return f"{time:g} s is before the video begins at {start:g} s"
    elif time % 1:
        return (
            f"{time:g} is not a frame number 1, 2, ...; if these are times, say "
            "'timestamps: seconds'"
        )
    elif not 1 <= time < END_OF_FRAMES:
        return f"{time:g} is not a frame number 1, 2, ..."
    return None


def key_frame_lines(table: AVATable) -> dict[tuple[str, float], int]:
    """Return the first line of each key frame.

    Args:
        table: the rows.
    """
    rows = zip(table.video_ids.tolist(), table.timestamps.tolist(), table.lines.tolist())
    lines: dict[tuple[str, float], int] = {}
    for video_id, time, line in rows:
        lines.setdefault((video_id, time), line)
    for key_frame, line in zip(table.empty_key_frames, table.empty_lines):
        lines.setdefault(key_frame, line)
    return lines


def first_line_of_videos(table: AVATable) -> dict[str, int]:
    """Return the first line of each video.

    Args:
        table: the rows.
    """
    places, rows = np.unique(table.video_index, return_index=True)
    lines = {table.videos[place]: int(table.lines[row]) for place, row in zip(places, rows)}
    for (video_id, _), line in zip(table.empty_key_frames, table.empty_lines):
        lines[video_id] = min(line, lines.get(video_id, line))
    return lines


def _plain_id(video_id: str, videos: str) -> str:
    """Return the id that is probably meant."""
    windows = PureWindowsPath(video_id)
    path = PurePosixPath(windows.as_posix() if "\\" in video_id else video_id)
    if windows.is_absolute() or path.is_absolute():
        below = os.path.relpath(path, os.path.abspath(videos))
        path = PurePosixPath(path.name if below.startswith("..") else below)
    parts = list(itertools.dropwhile(lambda part: part in ("..", "."), path.parts))
    if len(parts) > 1 and parts[0] == os.path.basename(videos.rstrip("/")):
        if not os.path.isdir(os.path.join(videos, parts[0])):
            parts = parts[1:]
    path = PurePosixPath(*parts)
    known = (*VIDEO_EXTENSIONS, *FRAME_EXTENSIONS)
    return str(path.with_suffix("") if path.suffix.lower() in known else path)


def _is_relative(video_id: str) -> bool:
    path = PurePosixPath(video_id)
    return not path.is_absolute() and ".." not in path.parts and str(path) == video_id


def _spans(numbers: list[int]) -> str:
    """Return ascending numbers such as "1 to 3, 7"."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1] = [spans[-1][0], number]
        else:
            spans.append([number])
    shown = [" to ".join(map(str, dict.fromkeys(span))) for span in spans]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")
