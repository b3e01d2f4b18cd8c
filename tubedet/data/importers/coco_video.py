"""Read COCO-style json of videos: annotations with a video, a frame, a box and a track."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TypeVar

from tubedet.data.annotations.text import AnnotationError

from .json_file import Entry, read_json
from .labels import ImportFormat, ImportOptions, Labels, Moment, PersonBox

_LARGEST = 10**7  # number of a frame
_Value = TypeVar("_Value")


def read_coco_video(path: Path, options: ImportOptions) -> Labels:
    """Read the json.

    Understood are annotations with ``video_id`` and ``frame`` of their own, or with the
    ``image_id`` of an image which has them (``frame`` or ``frame_id``). Boxes are x, y, width,
    height in pixels; ``track_id`` (or ``instance_id``) tells persons apart. A person with several
    actions has one annotation for each.

    Args:
        path: the file.
        options: ``first_frame``, what it calls the first frame of a video, 0 or 1.

    Returns:
        Boxes in pixels by numbers of frames; images without one are moments with nobody.

    Raises:
        AnnotationError: if the file breaks its format; the message names the entry.
        OSError: if the file cannot be read.
    """
    content = read_json(path)
    if not isinstance(content.value, dict):
        raise AnnotationError(f"{path}:1: expected an object with annotations and categories")
    if options.first_frame is None:
        raise AnnotationError(f"{path}: say how frames are counted: --first-frame 0 or 1")
    first_frame = options.first_frame
    names = _by_id(content, "categories", lambda entry: entry.text("name"))
    if len(set(names.values())) < len(names) or not all(isinstance(k, int) for k in names):
        raise AnnotationError(f"{path}: 'categories' need different names and whole numbers as ids")
    video_ids = _by_id(content, "videos", _video_id)

    def place(entry: Entry) -> Moment:
        video = entry.get("video_id")
        if video_ids and video not in video_ids:
            raise entry.error(f"has the video_id {video!r}, which no entry of 'videos' has")
        frame = entry.whole("frame", "frame_id")
        if frame < first_frame:
            raise entry.error(f"has the frame {frame}, but the first one is {first_frame}")
        if frame >= _LARGEST:
            raise entry.error(f"has the frame {frame}, expected less than {_LARGEST}")
        return video_ids.get(video, str(video)), frame - first_frame + 1

    images = _by_id(content, "images", place)
    labels = Labels(class_names=[names[k] for k in sorted(names)], looked_at=set(images.values()))
    for entry in _entries(content, "annotations"):
        if entry.value.get("iscrowd"):
            continue
        image = entry.value.get("image_id")
        if image is not None and image not in images:
            raise entry.error(f"has the image_id {image!r}, which no entry of 'images' has")
        category, person = entry.get("category_id"), entry.whole("track_id", "instance_id")
        if category not in names:
            raise entry.error(f"has the category_id {category!r}, which no category has")
        video_id, frame = place(entry) if image is None else images[image]
        box = _corners(entry)
        labels.boxes.append(PersonBox(video_id, frame, box, (names[category],), person))
    return labels


COCO_VIDEO = ImportFormat(
    name="coco-video",
    summary="COCO-style json of videos: annotations with video_id and frame of their own, or with "
    "the image_id of an image which has them (frame or frame_id); boxes are x, y, width, height "
    "in pixels; track_id (or instance_id) tells persons apart; a person with several actions has "
    "one annotation for each",
    read=read_coco_video,
    sign=lambda path, head: (
        "the key 'categories' or 'annotations'"
        if head.lstrip().startswith("{")
        and ('"categories"' in head or '"annotations"' in head)
        and '"result"' not in head  # a task of Label Studio
        else ""
    ),
    options=frozenset({"first_frame"}),
)


def _entries(content: Entry, name: str) -> list[Entry]:
    if name not in content and name in ("images", "videos"):
        return []
    if not content.value.get(name) and not isinstance(content.value.get(name), dict):
        raise content.error(f"{name!r} is missing or empty")
    entries = content.items(name)
    for entry in entries:
        if not isinstance(entry.value, dict):
            raise entry.error("is no object")
    return entries


def _by_id(content: Entry, name: str, read: Callable[[Entry], _Value]) -> dict:
    """Return what is read from each entry of a list, by its id."""
    values: dict[object, _Value] = {}
    for entry in _entries(content, name):
        if (number := entry.value.get("id")) in values:
            raise entry.error(f"has the id {number!r}, which an entry before it has, too")
        values[number] = read(entry)
    return values


def _video_id(entry: Entry) -> str:
    path = PurePosixPath(entry.text("file_name", "name"))
    return str(path.with_suffix("")) if "file_name" in entry.value else str(path)


def _corners(entry: Entry) -> tuple[float, float, float, float]:
    x, y, width, height = entry.child("bbox").numbers(4)
    if min(width, height) <= 0:
        raise entry.error(f"has the bbox {[x, y, width, height]}, expected x, y, width, height")
    return x, y, x + width, y + height
