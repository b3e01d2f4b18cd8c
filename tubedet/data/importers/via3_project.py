"""Read the two files that VIA 3 writes, a project and its csv export, into one form."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tubedet.data.annotations.text import AnnotationError, open_text

from .json_file import Entry, parse_json, read_json

_COLUMNS = (
    "metadata_id",
    "file_list",
    "flags",
    "temporal_coordinates",
    "spatial_coordinates",
    "metadata",
)
_ATTRIBUTES = re.compile(r"#\s*ATTRIBUTES?\s*=\s*(.*)")
_PICTURE = 2  # the type of a file
_TEXT = 1  # the type of an attribute


class Attribute(NamedTuple):
    """What the annotator is asked.

    Attributes:
        name: what the annotator sees.
        options: names of the answers by their ids; None: free text.
        of_regions: asked of a region of a picture or frame, not of a whole file or a stretch of it.
    """

    name: str
    options: dict[str, str] | None
    of_regions: bool


class Region(NamedTuple):
    """What the annotator marked.

    Attributes:
        file: name of the picture or video.
        times: none: a picture; one: a frame of a video; two: a stretch of time; seconds.
        shape: number of the kind, then coordinates in pixels; an empty list for whole frames.
        values: answers by the ids of the attributes.
        entry: where it stands.
    """

    file: str
    times: tuple[float, ...]
    shape: Entry
    values: dict[str, str]
    entry: Entry


@dataclass
class Project:
    """A file of VIA 3.

    Attributes:
        attributes: by their ids.
        regions: in the order of the file.
        pictures: name and place of each picture that was shown, if the file tells.
        has_options: whether the file tells the names of the answers; if not, ids stand for them.
    """

    attributes: dict[str, Attribute]
    regions: list[Region]
    pictures: list[tuple[str, Entry]]
    has_options: bool = True


def read_project(path: Path) -> Project:
    """Read a project (json) or its export (csv).

    Args:
        path: the file.

    Raises:
        AnnotationError: if it breaks its format; the message names the place.
        OSError: if it cannot be read.
    """
    with open(path, "rb") as stream:
        is_json = stream.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"["))
    return _read_json(path) if is_json else _read_csv(path)


def _read_json(path: Path) -> Project:
    content = read_json(path)
    files = content.members("file")
    views = {
        view_id: [_member(files, fid) for fid in view.items("fid_list")]
        for view_id, view in content.members("view").items()
    }
    regions = []
    for entry in content.members("metadata").values():
        view_id = str(entry.get("vid"))
        if view_id not in views:
            raise entry.error(f"has the vid {view_id!r}, which no view has")
        times = entry.child("z") if "z" in entry else None
        shape = entry.child("xy") if "xy" in entry else Entry([], "")
        names = [_file_name(file) for file in views[view_id]]
        regions.append(_region(entry, names, times, shape, entry.child("av")))
    shown = [file for view in views.values() for file in view]
    pictures = [(_file_name(f), f) for f in shown if f.value.get("type") == _PICTURE]
    attributes = {
        number: _attribute(entry) for number, entry in content.members("attribute").items()
    }
    return Project(attributes, regions, pictures)


def _read_csv(path: Path) -> Project:
    attributes: dict[str, Attribute] = {}
    regions = []
    has_options = False
    with open_text(path) as stream:
        lines = _Lines(stream)
        reader = csv.reader(lines)
        try:
            for row in reader:
                place = f"{path}:{reader.line_num}"
                while row and not row[-1]:  # a spreadsheet fills the columns up
                    row.pop()
                if not row:
                    continue
                if len(row) != len(_COLUMNS):
                    raise AnnotationError(
                        f"{place}: {len(row)} columns, expected {len(_COLUMNS)}: "
                        f"{','.join(_COLUMNS)}"
                    )
                cells = {
                    name: parse_json(cell, place, name) for name, cell in zip(_COLUMNS[1:], row[1:])
                }
                files = [
                    Entry({"name": name.value}, place, "file_list").text("name")
                    for name in cells["file_list"].items()
                ]
                regions.append(
                    _region(
                        cells["file_list"],
                        files,
                        cells["temporal_coordinates"],
                        cells["spatial_coordinates"],
                        cells["metadata"],
                    )
                )
        except csv.Error as error:
            raise AnnotationError(f"{path}:{reader.line_num}: no valid csv: {error}") from None
        for number, text in lines.comments:
            if found := _ATTRIBUTES.match(text):
                members = parse_json(found[1], f"{path}:{number}", "ATTRIBUTE").members()
                has_options = all(isinstance(entry.value, dict) for entry in members.values())
                # Old versions write the names alone.
                attributes = {
                    key: _attribute(entry)
                    if has_options
                    else Attribute(str(entry.value), None, of_regions=True)
                    for key, entry in members.items()
                }
    if not has_options:
        attributes = _attributes_of(regions, {key: a.name for key, a in attributes.items()})
    return Project(attributes, regions, [], has_options)


class _Lines:
    """The lines of a csv; those of comments are put aside, and are empty in their places.

    Attributes:
        comments: number and text of each comment.
    """

    def __init__(self, lines: Iterable[str]):
        self.comments: list[tuple[int, str]] = []
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._lines, start=1):
            if line.startswith("#"):
                self.comments.append((number, line.strip()))
            yield "\n" if line.startswith("#") else line


def _member(files: dict[str, Entry], fid: Entry) -> Entry:
    if str(fid.value) not in files:
        raise fid.error(f"is {fid.value!r}, which no file has")
    return files[str(fid.value)]


def _file_name(file: Entry) -> str:
    given = [name for name in ("fname", "src") if name in file and file.value[name]]
    return file.text(*given or ("fname", "src"))


def _attribute(entry: Entry) -> Attribute:
    options = entry.members("options") if "options" in entry else {}
    names = {number: option.value for number, option in options.items()}
    for number, name in names.items():
        if not isinstance(name, str) or not name.strip():
            raise options[number].error("is no name")
    anchor = str(entry.value.get("anchor_id") or "")
    return Attribute(
        str(entry.get("aname")),
        names if names and entry.value.get("type") != _TEXT else None,
        of_regions="XY0" not in anchor,
    )


def _attributes_of(regions: list[Region], names: dict[str, str]) -> dict[str, Attribute]:
    """Make attributes of the answers that were given, where the file does not tell the options."""
    options: dict[str, dict[str, str]] = {}
    for region in regions:
        for key, value in region.values.items() if region.shape.value else ():
            seen = options.setdefault(key, {})
            seen.update((v.strip(), v.strip()) for v in value.split(",") if v.strip())
    return {
        key: Attribute(names.get(key, key), dict(sorted(seen.items())), of_regions=True)
        for key, seen in sorted(options.items())
    }


def _region(
    entry: Entry, files: list[str], times: Entry | None, shape: Entry, values: Entry
) -> Region:
    if len(files) != 1:
        raise entry.error(f"belongs to {len(files)} files, expected one")
    shape.items()
    answers = {}
    for number, value in values.members().items():
        if isinstance(value.value, (bool, list, dict, float)):
            raise value.error(f"is {str(value.value)[:80]}, expected text")
        answers[number] = "" if value.value is None else str(value.value)
    seconds = times.numbers(len(times.items())) if times is not None else ()
    return Region(files[0], seconds, shape, answers, entry)
