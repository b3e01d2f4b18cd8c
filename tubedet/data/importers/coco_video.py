"""Read COCO-style json of videos: annotations with a video, a frame, a box and a track."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from tubedet.data.annotations.text import AnnotationError

from .dataset_writer import PersonBox

_LARGEST = 10**7  # coordinate or frame number
_Value = TypeVar("_Value")


def read_coco_video(
    path: Path, *, first_frame: int
) -> tuple[list[PersonBox], list[tuple[str, int]], list[str]]:
    """Read the json.

    Understood are annotations with ``video_id`` and ``frame`` of their own, or with the
    ``image_id`` of an image which has them (``frame`` or ``frame_id``). Boxes are x, y, width,
    height in pixels; ``track_id`` (or ``instance_id``) tells persons apart. A person with several
    actions has one annotation for each.

    Args:
        path: the file.
        first_frame: what it calls the first frame of a video, 0 or 1.

    Returns:
        The boxes; (video id, frame number) of the images without one; the names of the categories
        in the order of their ids, which become 1, 2, ...

    Raises:
        AnnotationError: if the file breaks its format; the message names the entry.
        OSError: if the file cannot be read.
    """
    try:
        content = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}:{error.lineno}: no valid json: {error.msg}") from None
    # ValueError: undecodable text, or a number too long for Python (whose advice is left out).
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: no valid json: {str(error).partition(';')[0]}") from None
    if not isinstance(content, dict):
        raise AnnotationError(f"{path}:1: expected an object with annotations and categories")
    names = _by_id(path, content, "categories", lambda entry: entry.text("name"))
    if len(set(names.values())) < len(names) or not all(isinstance(k, int) for k in names):
        raise AnnotationError(f"{path}: 'categories' need different names and whole numbers as ids")
    action_ids = {category: rank for rank, category in enumerate(sorted(names), start=1)}
    video_ids = _by_id(path, content, "videos", _video_id)

    def place(entry: _Entry) -> tuple[str, int]:
        video = entry.get("video_id")
        if video_ids and video not in video_ids:
            raise entry.error(f"has the video_id {video!r}, which no entry of 'videos' has")
        frame = entry.get("frame", "frame_id")
        if not isinstance(frame, int):
            raise entry.error(f"has the frame {frame!r}, expected a whole number")
        if frame < first_frame:
            raise entry.error(f"has the frame {frame}, but the first one is {first_frame}")
        if frame >= _LARGEST:
            raise entry.error(f"has the frame {frame}, expected less than {_LARGEST}")
        return video_ids.get(video, str(video)), frame - first_frame + 1

    images = _by_id(path, content, "images", place)
    boxes = []
    for entry in _entries(path, content, "annotations"):
        if entry.value.get("iscrowd"):
            continue
        image = entry.value.get("image_id")
        if image is not None and image not in images:
            raise entry.error(f"has the image_id {image!r}, which no entry of 'images' has")
        category, person = entry.get("category_id"), entry.get("track_id", "instance_id")
        if category not in action_ids:
            raise entry.error(f"has the category_id {category!r}, which no category has")
        if not isinstance(person, int):
            raise entry.error(f"has the track id {person!r}, expected a whole number")
        video_id, frame_number = place(entry) if image is None else images[image]
        boxes.append(
            PersonBox(video_id, frame_number, _corners(entry), action_ids[category], person)
        )
    empty_frames = set(images.values()) - {(box.video_id, box.frame_number) for box in boxes}
    return boxes, sorted(empty_frames), [names[category] for category in action_ids]


class _Entry:
    """An object in one of the lists of the json."""

    def __init__(self, value: Any, place: str):
        self.value = value
        self._place = place
        if not isinstance(value, dict):
            raise self.error("is no object")

    def error(self, problem: str) -> AnnotationError:
        return AnnotationError(f"{self._place} {problem}")

    def get(self, *names: str) -> object:
        value = next((self.value[name] for name in names if name in self.value), None)
        if value is None or isinstance(value, (bool, list, dict)):
            raise self.error(f"has no {' or '.join(names)}")
        return value

    def text(self, *names: str) -> str:
        value = self.get(*names)
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"has no text as {' or '.join(names)}")
        return value


def _entries(path: Path, content: dict, name: str) -> list[_Entry]:
    entries = content.get(name, [])
    if not isinstance(entries, list):
        raise AnnotationError(f"{path}: {name!r} is no list")
    if not entries and name in ("annotations", "categories"):
        raise AnnotationError(f"{path}: {name!r} is missing or empty")
    return [_Entry(value, f"{path}: {name}[{i}]") for i, value in enumerate(entries)]


def _by_id(path: Path, content: dict, name: str, read: Callable[[_Entry], _Value]) -> dict:
    """Return what is read from each entry of a list, by its id."""
    values: dict[object, _Value] = {}
    for entry in _entries(path, content, name):
        if (number := entry.get("id")) in values:
            raise entry.error(f"has the id {number!r}, which an entry before it has, too")
        values[number] = read(entry)
    return values


def _video_id(entry: _Entry) -> str:
    path = PurePosixPath(entry.text("file_name", "name"))
    return str(path.with_suffix("")) if "file_name" in entry.value else str(path)


def _corners(entry: _Entry) -> tuple[float, float, float, float]:
    box = entry.value.get("bbox")
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(isinstance(v, (int, float)) and abs(v) < _LARGEST for v in box)
        or min(box[2:]) <= 0
    ):
        raise entry.error(f"has the bbox {box!r}, expected x, y, width, height")
    x, y, width, height = box
    return x, y, x + width, y + height
