"""Read what stands beside tracks: ``seqinfo.ini``, and a csv of actions by track and time."""

from __future__ import annotations

import configparser
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from tubedet.data.annotations.stated_frames import MOST_FRAMES
from tubedet.data.annotations.text import (
    AnnotationError,
    csv_rows,
    open_text,
    parse_cell,
    whole_number,
)

from .labels import is_video_name

_LARGEST_SIDE = 10**5
_MAX_INI = 1 << 16  # characters
_ACTION_COLUMNS = ("person", "first frame", "last frame", "action")


class Sequence(NamedTuple):
    """What a ``seqinfo.ini`` says about a video.

    Attributes:
        path: of the file.
        name: of the video.
        frames: name of the folder of frames within it, or "".
        length: number of frames.
        size: width and height in pixels; None if it does not say.
    """

    path: Path
    name: str
    frames: str
    length: int
    size: tuple[int, int] | None


class TrackActions:
    """What each track does when.

    Rows are ``person,first frame,last frame,action``; the frames are counted as in the file of
    tracks, and both belong to the action. Rows of a person may overlap: it does several things at
    once. A person, or a frame of one, without a row is somebody without an action. Empty lines, a
    first line of column names, and lines that begin with # do not count.

    Args:
        path: the csv.
        first_frame: number of the first frame, 0 or 1.

    Raises:
        AnnotationError: if a row breaks the format; the message names file and line.
        OSError: if the file cannot be read.
    """

    def __init__(self, path: Path, first_frame: int):
        self._path = path
        self._rows: dict[int, list[tuple[int, int, str]]] = defaultdict(list)
        self._lines: dict[int, int] = {}  # of the first row of each person
        self._used: set[tuple[int, tuple[int, int, str]]] = set()
        shift = 1 - first_frame
        with open_text(path) as stream:
            for line, cells in csv_rows(stream, str(path)):
                cells = [cell.strip() for cell in cells]
                if not "".join(cells) or cells[0].startswith("#"):
                    continue
                where = f"{path}:{line}"
                if len(cells) != 4 or not cells[3]:
                    raise AnnotationError(f"{where}: expected {','.join(_ACTION_COLUMNS)}")
                if line == 1 and not any(cell.lstrip("-").isdecimal() for cell in cells[:3]):
                    continue
                person, first, last = (
                    parse_cell(whole_number, cell, where=where, column=name)
                    for cell, name in zip(cells[:3], _ACTION_COLUMNS)
                )
                if not first_frame <= first <= last:
                    raise AnnotationError(
                        f"{where}: from frame {first} to {last}: expected first and last frame, "
                        f"from {first_frame} on"
                    )
                self._rows[person].append((first + shift, last + shift, cells[3]))
                self._lines.setdefault(person, line)
        if not self._rows:
            raise AnnotationError(f"{path}: no rows of {','.join(_ACTION_COLUMNS)}")

    def check(self, persons: Collection[int], tracks: Path) -> None:
        """Make sure that every row is of a track.

        Args:
            persons: the numbers of the tracks.
            tracks: the file that has them.

        Raises:
            AnnotationError: if one is not; the message names its line.
        """
        for person, line in self._lines.items():
            if person not in persons:
                raise AnnotationError(f"{self._path}:{line}: {tracks} has no person {person}")

    def of(self, person: int, frame: int) -> tuple[str, ...]:
        """Return the actions of a person in a frame.

        Args:
            person: number of the track.
            frame: number of the frame, from 1.
        """
        rows = [row for row in self._rows.get(person, ()) if row[0] <= frame <= row[1]]
        self._used.update((person, row) for row in rows)
        return tuple(dict.fromkeys(action for _, _, action in rows))

    def remarks(self) -> dict[str, int]:
        """Count the rows that :meth:`of` never came to."""
        rows = {(person, row) for person, rows in self._rows.items() for row in rows}
        unused = len(rows - self._used)
        return {f"rows of {self._path} without a box at their time": unused} if unused else {}


def read_sequence(path: Path) -> Sequence | None:
    """Read the ``seqinfo.ini`` of a sequence of MOTChallenge.

    Args:
        path: of the tracks, ``SEQ/gt/gt.txt``; the file is looked for in ``SEQ``, else beside the
            tracks.

    Returns:
        its content; None if there is none.

    Raises:
        AnnotationError: if it breaks its format; the message names file and key.
        OSError: if it cannot be read.
    """
    folders = [path.parent.parent, path.parent] if path.parent.name == "gt" else [path.parent]
    found = [folder / "seqinfo.ini" for folder in folders if (folder / "seqinfo.ini").is_file()]
    if not found:
        return None
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with open_text(found[0]) as stream:
            parser.read_string(stream.read(_MAX_INI))
    except configparser.Error as error:
        raise AnnotationError(f"{found[0]}: {str(error).splitlines()[0]}") from None
    if "Sequence" not in parser:
        raise AnnotationError(f"{found[0]}: no section [Sequence]")
    section = parser["Sequence"]

    def whole(key: str, most: int) -> int:
        where, text = str(found[0]), section.get(key, "")
        number = parse_cell(whole_number, text, where=where, column=key)
        if not 1 <= number <= most:
            raise AnnotationError(f"{where}: {key}={number}, expected 1 to {most}")
        return number

    name = section.get("name", "").strip()
    frames = section.get("imDir", "").strip()
    if not is_video_name(name) or not is_video_name(f"{name}/{frames}"):
        raise AnnotationError(f"{found[0]}: name={name[:80]!r} or imDir={frames[:80]!r} is no name")
    size = None
    if "imWidth" in section and "imHeight" in section:
        size = whole("imWidth", _LARGEST_SIDE), whole("imHeight", _LARGEST_SIDE)
    return Sequence(found[0], name, frames, whole("seqLength", MOST_FRAMES), size)
