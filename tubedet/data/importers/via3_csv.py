"""Read the csv export of VIA 3."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tubedet.data.annotations.text import AnnotationError, open_text

from .json_file import Entry, parse_json
from .via3_project import Attribute, Project, Region, read_attribute, read_region

_COLUMNS = (
    "metadata_id",
    "file_list",
    "flags",
    "temporal_coordinates",
    "spatial_coordinates",
    "metadata",
)
_ATTRIBUTES = re.compile(r"#\s*ATTRIBUTES?\s*=\s*(.*)")


def read_csv_project(path: Path) -> Project:
    """Read an export.

    Args:
        path: the csv; its first lines are comments, of which one tells the attributes.

    Raises:
        AnnotationError: if it breaks its format; the message names the line.
        OSError: if it cannot be read.
    """
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
                    read_region(
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
                    key: read_attribute(entry)
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
