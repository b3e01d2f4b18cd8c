"""Read COCO json with person boxes: results of detectors, those of AlphAction, and tubedet's."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tubedet.data.annotations.text import AnnotationError, open_text
from tubedet.data.importers.coco_entries import Id, by_id, entries, video_name
from tubedet.data.importers.json_file import Entry, read_json, read_json_object
from tubedet.data.importers.stored_frames import split_number

from .csv_files import LARGEST_TIME, check_score
from .table import BoxRows, PersonBoxes

NAME = "coco"
_VIDEO_KEYS = ("movie", "video_id", "video")
_FRAME_KEYS = ("frame_index", "frame", "frame_id")
_PERSON = 1  # category of the data set COCO


class _Image(NamedTuple):
    video: str
    time: float
    width: int
    height: int


class _Images:
    """The images of a file by id; times are seconds if the first one has a timestamp."""

    def __init__(self, path: Path, content: Entry, first_frame: int | None):
        self.path = path
        names = by_id(entries(content, "videos"), lambda e: video_name(e.text("file_name", "name")))
        listed = entries(content, "images")
        if not listed:
            raise content.error("has no 'images', which say what each image_id is")
        self.in_seconds = "timestamp" in listed[0]
        images = by_id(listed, lambda entry: self._read(entry, names))
        if not self.in_seconds:
            if first_frame is None:
                first_frame = 0 if any(image.time == 0 for image in images.values()) else 1
            shift = 1 - first_frame
            images = {i: image._replace(time=image.time + shift) for i, image in images.items()}
        self._images = images

    def of(self, entry: Entry) -> _Image:
        """Return the image of an annotation."""
        number = entry.get("image_id")
        if number not in self._images:
            raise entry.error(f"has the image_id {number!r}, which no image of {self.path} has")
        return self._images[number]

    def moments(self) -> set[tuple[str, float]]:
        """Return the video and the time of every image."""
        return {(image.video, image.time) for image in self._images.values()}

    def _read(self, entry: Entry, names: dict[Id, str]) -> _Image:
        width, height = entry.whole("width"), entry.whole("height")
        if min(width, height) < 1:
            raise entry.error(f"has the size {width}x{height}")
        video, time = "", None
        if any(key in entry for key in _VIDEO_KEYS):
            value = entry.get(*_VIDEO_KEYS)
            video = names.get(value, "") if names else video_name(str(value))
        if "timestamp" in entry:
            time = entry.number("timestamp")
        elif any(key in entry for key in _FRAME_KEYS):
            time = entry.whole(*_FRAME_KEYS)
        elif "file_name" in entry:
            name = PurePosixPath(entry.text("file_name").replace("\\", "/"))
            if (split := split_number(name.name)) is not None:
                time = split[1]
                video = video or str(name.parent)
        if time is None or ("timestamp" in entry) != self.in_seconds:
            kind = "timestamp" if self.in_seconds else f"{', '.join(_FRAME_KEYS)}"
            raise entry.error(f"has no {kind}, which say when it is")
        if not video or video == ".":
            raise entry.error(f"has no {', '.join(_VIDEO_KEYS)}, which say of which video it is")
        if not 0 <= time < LARGEST_TIME:
            raise entry.error(f"has the time {time}, expected one from 0 on")
        return _Image(video, float(time), width, height)


def read_coco_boxes(
    path: Path, *, images: Path | None = None, first_frame: int | None = None
) -> PersonBoxes:
    """Read boxes ``[x, y, width, height]`` in pixels of the image that they name.

    The file is a list of results, whose ``images`` stand in another file, or an object with
    ``images`` and ``annotations``. An image has ``video_id`` (or ``movie``, ``video``) and
    ``timestamp`` or ``frame_index``, and its size, which need not be that of the video. Boxes of
    the category "person" count: 1 where the file has no categories, all where none has that name,
    as in the files of ``tubedet predict``, whose categories are actions. Annotations of one box are
    one person with their highest score.

    AlphAction counts x + width - 1 as the last pixel within a box. That is left to the model
    (``MODEL.ROI_ACTION.INCLUSIVE_PIXELS``); here x2 is x + width.

    Args:
        path: the file, plain or gzip-compressed.
        images: json with ``images``, if ``path`` has none.
        first_frame: number of the first frame, where images have numbers instead of times; None: 0
            if an image has that number, else 1.

    Raises:
        AnnotationError: if an entry breaks the format; the message names it.
        OSError: if a file cannot be read.
    """
    content = read_json(path) if _is_list(path) else read_json_object(path, "annotations")
    is_list = isinstance(content.value, list)
    if is_list and images is None:
        raise AnnotationError(
            f"{path}: a list of results, whose image_ids another json explains: give the one with "
            "'images', --boxes-images FILE (DATASETS.PROPOSAL_IMAGES_TRAIN or _TEST in a config)"
        )
    listed = content if images is None else read_json_object(images, "annotations")
    found = _Images(images or path, listed, first_frame)
    names = by_id(entries(listed, "categories"), lambda entry: entry.text("name").lower())
    persons = {i for i, name in names.items() if name == "person"} or set(names) or {_PERSON}
    rows = BoxRows(path)
    for video, time in sorted(found.moments()):
        rows.add_moment(video, time)
    for entry in content.each() if is_list else content.each("annotations"):
        if entry.value.get("iscrowd") == 1:
            rows.remarks["crowds (iscrowd): left out"] += 1
            continue
        if "category_id" in entry and entry.get("category_id") not in persons:
            rows.remarks["boxes of other categories than person: left out"] += 1
            continue
        image = found.of(entry)
        score = entry.number("score") if "score" in entry else 1.0
        check_score(score, f"{path}: {entry.place}")
        x, y, width, height = entry.child("bbox").numbers(4)
        size = (image.width, image.height) * 2
        box = [edge / side for edge, side in zip((x, y, x + width, y + height), size)]
        track = entry.whole("track_id") if "track_id" in entry else -1
        actions: tuple[int, ...] = ()
        if "action_ids" in entry:
            actions = tuple(sorted(_action(action) for action in entry.items("action_ids")))
        rows.add(image.video, image.time, box, score, track_id=max(track, -1), actions=actions)
    return rows.finish(NAME, in_seconds=found.in_seconds)


def _is_list(path: Path) -> bool:
    with open_text(path) as stream:
        return stream.read(64).lstrip()[:1] == "["


def _action(entry: Entry) -> int:
    if not isinstance(entry.value, int) or not 1 <= entry.value <= 100_000:
        raise entry.error(f"is {str(entry.value)[:80]}, expected the id of an action")
    return entry.value
