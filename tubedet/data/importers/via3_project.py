"""Read projects of VIA 3, and what they have in common with its csv export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tubedet.data.video.reader import VIDEO_EXTENSIONS

from .json_file import Entry, read_json

_PICTURE = 2  # the type of a file
_TEXT = 1  # the type of an attribute


class Attribute(NamedTuple):
    """What the annotator is asked.

    Attributes:
        name: what the annotator sees.
        options: names of the answers by their ids; None: free text.
        of_regions: asked of a region of a picture or frame, not of a whole file or a stretch of it.
            A region has the value of a stretch, too, if that is selected while it is drawn.
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


def read_json_project(path: Path) -> Project:
    """Read a project.

    Args:
        path: the json.

    Raises:
        AnnotationError: if it breaks its format; the message names the place.
        OSError: if it cannot be read.
    """
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
        regions.append(read_region(entry, names, times, shape, entry.child("av")))
    shown = [file for view in views.values() for file in view]
    pictures = [
        (name, file)
        for file in shown
        # Old versions call videos so, too.
        if _type(file) == _PICTURE
        and not (name := _file_name(file)).lower().endswith(VIDEO_EXTENSIONS)
    ]
    attributes = {
        number: read_attribute(entry) for number, entry in content.members("attribute").items()
    }
    return Project(attributes, regions, pictures)


def _type(entry: Entry) -> object:
    return entry.members()["type"].value if "type" in entry else None


def _member(files: dict[str, Entry], fid: Entry) -> Entry:
    if str(fid.value) not in files:
        raise fid.error(f"is {fid.value!r}, which no file has")
    return files[str(fid.value)]


def _file_name(file: Entry) -> str:
    given = [name for name in ("fname", "src") if name in file and file.value[name]]
    return file.text(*given or ("fname", "src"))


def read_attribute(entry: Entry) -> Attribute:
    """Read an attribute.

    Args:
        entry: it.

    Raises:
        AnnotationError: if it is none.
    """
    options = entry.members("options") if "options" in entry else {}
    names = {number: option.value for number, option in options.items() if option.value != ""}
    for number, name in names.items():
        if not isinstance(name, str) or not name.strip():
            raise options[number].error("is no name")
    anchor = entry.text("anchor_id") if "anchor_id" in entry else ""
    return Attribute(
        str(entry.get("aname")),
        names if names and _type(entry) != _TEXT else None,
        of_regions="XY0" not in anchor,
    )


def read_region(
    entry: Entry, files: list[str], times: Entry | None, shape: Entry, values: Entry
) -> Region:
    """Put a region together.

    Args:
        entry: where it stands.
        files: names of the pictures or videos it belongs to.
        times: seconds.
        shape: see :class:`Region`.
        values: answers by the ids of the attributes.

    Raises:
        AnnotationError: if it is none.
    """
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
