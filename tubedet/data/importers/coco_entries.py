"""What all shapes of COCO-style json have in common: videos, actions, persons, boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import TypeVar

from tubedet.data.video.reader import VIDEO_EXTENSIONS

from .cvat_shapes import enclosing_box
from .json_file import Entry
from .labels import Box, ImportOptions, Labels, is_box
from .segmentation import segmentation_box

CROWDS = "crowds (iscrowd): left out, and no frame is empty for them"
Id = str | int | float
_Value = TypeVar("_Value")


def entries(content: Entry, name: str) -> list[Entry]:
    """Return the objects of a list.

    Args:
        content: the file.
        name: of the list.

    Raises:
        AnnotationError: if it is none.
    """
    return list(content.each(name)) if name in content else []


def by_id(found: Iterable[Entry], read: Callable[[Entry], _Value]) -> dict[Id, _Value]:
    """Return what is read from each of some entries, by its id.

    Args:
        found: objects with an ``id``.
        read: makes the value.

    Raises:
        AnnotationError: if two have the same.
    """
    values: dict[Id, _Value] = {}
    for entry in found:
        if (number := entry.get("id")) in values:
            raise entry.error(f"has the id {number!r}, which an entry before it has, too")
        values[number] = read(entry)
    return values


def video_name(text: str) -> str:
    """Return the id of a video whose file or folder is named.

    Args:
        text: as it stands in the json.

    Returns:
        without the ending of a video; of an absolute path the last part only.
    """
    path = PurePosixPath(text.strip().replace("\\", "/"))
    if path.is_absolute() or text[1:2] == ":":
        path = PurePosixPath(path.name)
    return str(path.with_suffix("") if path.suffix.lower() in VIDEO_EXTENSIONS else path)


def attributes_of(entry: Entry) -> dict:
    """Return what stands as ``attributes``, if anything.

    Args:
        entry: an annotation.
    """
    value = entry.value.get("attributes")
    return value if isinstance(value, dict) else {}


def add_size(labels: Labels, video_id: str, entry: Entry) -> None:
    """Note the size of a video or of one of its images, if it is told.

    Args:
        labels: gets it; 0x0 if others of the video have another one, see :func:`settle`.
        video_id: the video.
        entry: with ``width`` and ``height``, or without.

    Raises:
        AnnotationError: if these are no whole numbers.
    """
    if "width" in entry and "height" in entry:
        size = entry.whole("width"), entry.whole("height")
        if min(size) > 0 and labels.sizes.setdefault(video_id, size) != size:
            labels.sizes[video_id] = 0, 0


def settle(labels: Labels) -> None:
    """Leave out what the file does not really say, and remark it.

    Args:
        labels: of all annotations.
    """
    mixed = [video_id for video_id, size in labels.sizes.items() if size == (0, 0)]
    for video_id in mixed:
        del labels.sizes[video_id]
    labels.remarks["videos with images of different sizes"] += len(mixed)
    named = {box.video_id for box in labels.boxes} | {video_id for video_id, _ in labels.unclear}
    silent = {video_id for video_id, _ in labels.looked_at} - named
    labels.looked_at = {moment for moment in labels.looked_at if moment[0] not in silent}
    labels.remarks["videos without an annotation: left out, as nobody may have looked at them"] += (
        len(silent)
    )
    labels.remarks = +labels.remarks  # without zeros


class Annotations:
    """Reads members of annotations, which are the same in all shapes.

    Args:
        content: the file.
        options: ``attributes``, if the categories are no actions.

    Attributes:
        class_names: of the categories by their ids; empty with ``attributes``.

    Raises:
        AnnotationError: if there are no categories, or none that can be told apart.
    """

    def __init__(self, content: Entry, options: ImportOptions):
        self._content = content
        self._attributes = options.attributes
        self._seen: set[str] = set()  # names of attributes
        if "annotations" not in content or next(content.each("annotations"), None) is None:
            raise content.error("'annotations' is missing or empty")
        self._categories = by_id(entries(content, "categories"), lambda e: str(e.get("name")))
        names = list(self._categories.values())
        self.class_names: list[str] = []
        if not self._attributes:
            if not names:
                raise content.error("'categories' is missing or empty")
            if len(set(names)) < len(names) or not all(
                isinstance(k, int) for k in self._categories
            ):
                raise content.error("'categories' need different names and whole numbers as ids")
            self.class_names = [name for _, name in sorted(self._categories.items())]

    def actions(self, entry: Entry, category: Id | None = None) -> tuple[str, ...]:
        """Return what somebody does: the name of the category, or the values of attributes.

        An attribute that is true is an action by its own name.

        Args:
            entry: an annotation.
            category: what stands elsewhere for an annotation without a ``category_id``.

        Raises:
            AnnotationError: if there is no such category, or an attribute has no name as its value.
        """
        if not self._attributes:
            number = entry.get("category_id") if category is None else category
            if number not in self._categories:
                raise entry.error(f"has the category_id {number!r}, which no category has")
            return (self._categories[number],)
        found = {**entry.value, **attributes_of(entry)}
        self._seen |= attributes_of(entry).keys() | (found.keys() & set(self._attributes))
        names = []
        for attribute in self._attributes:
            value = found.get(attribute)
            for name in value if isinstance(value, list) else [value]:
                if isinstance(name, dict) or isinstance(name, list):
                    raise entry.error(f"has {str(name)[:80]} as its {attribute}, expected a name")
                if name is True or str(name).lower() == "true":
                    names.append(attribute)
                elif name not in (None, False, "") and str(name).lower() != "false":
                    names.append(str(name))
        return tuple(names)

    def person(self, entry: Entry) -> int | None:
        """Return the number of a person.

        Args:
            entry: an annotation.

        Returns:
            its track; None if it has attributes as CVAT writes them, but no track: this is a shape
            on a single frame.

        Raises:
            AnnotationError: if it has neither, or the number is negative.
        """
        holder = entry
        if "track_id" not in entry and "instance_id" not in entry and "attributes" in entry:
            holder = entry.child("attributes")
            if "track_id" not in holder:
                return None
        if (number := holder.whole("track_id", "instance_id")) < 0:
            raise entry.error(f"has the track {number}, expected a number from 0 on")
        return number

    def check_attributes(self) -> None:
        """Refuse attributes that no annotation has.

        Raises:
            AnnotationError: if there is one.
        """
        for name in self._attributes:
            if name not in self._seen:
                listed = ", ".join(sorted(self._seen)) or "none"
                raise self._content.error(
                    f"has no annotation with --attribute {name}; there are {listed}"
                )

    def box(
        self, entry: Entry, bbox: Entry | None, segmentation: Entry | None, labels: Labels
    ) -> Box | None:
        """Return the box of a person on a frame; where it is wanting, that of its segmentation.

        Args:
            entry: the annotation.
            bbox: x, y, width, height.
            segmentation: see :func:`.segmentation_box`.
            labels: gets remarks.

        Returns:
            x1, y1, x2, y2; None if it has no area, so that it is unclear who is there.

        Raises:
            AnnotationError: if there is neither, or it is no box.
        """
        remarks = labels.remarks
        box: Box | None
        if bbox is not None:
            x, y, width, height = bbox.numbers(4)
            if min(width, height) < 0:
                raise entry.error(
                    f"has the bbox {[x, y, width, height]}, expected x, y, width, height"
                )
            box = x, y, x + width, y + height
            turn = attributes_of(entry).get("rotation")
            if turn and not (segmentation and segmentation.value):
                box = _turned(entry, box, turn)
                remarks["turned boxes: their enclosing upright boxes are taken"] += 1
        elif segmentation is not None:
            box = segmentation_box(segmentation)
            remarks["segmentations without a bbox: their enclosing boxes are taken"] += 1
        else:
            raise entry.error("has no bbox or segmentation")
        if box is None or not is_box(box):
            remarks["boxes without an area: left out, and no frame is empty for them"] += 1
            return None
        return box


def _turned(entry: Entry, box: Box, turn: object) -> Box:
    sides = dict(zip(("xtl", "ytl", "xbr", "ybr"), map(repr, box)))
    try:
        return enclosing_box("box", {**sides, "rotation": str(turn)})
    except ValueError as error:
        raise entry.error(f"has the {error}") from None
