"""Read YouTube-VIS and OVIS: videos with lists of frames, annotations with a box for each frame."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tubedet.data.video.reader import VIDEO_EXTENSIONS

from .coco_entries import CROWDS, Annotations, add_size, by_id, entries, settle, video_name
from .json_file import Entry
from .labels import ImportOptions, Labels, PersonBox
from .stored_frames import split_number, stored_numbers


def is_youtube_vis(content: Entry) -> bool:
    """Tell whether a file has this shape.

    Args:
        content: the file.
    """
    videos = entries(content, "videos")
    return "images" not in content and any("file_names" in video for video in videos)


def read_youtube_vis(content: Entry, options: ImportOptions) -> Labels:
    """Read a file, in which an annotation is a person through a whole video.

    A box is null where the person is not seen. The number of a frame is its place in the folder of
    the video's frames; where that is not at hand, its place among the video's file names.

    Args:
        content: the file, of which :func:`is_youtube_vis` is true.
        options: ``videos``, the folder of the videos; ``video``; ``attributes``.

    Returns:
        Boxes in pixels by numbers of frames; all frames of a video with an annotation were looked
        at.

    Raises:
        AnnotationError: if the file breaks its format; the message names the entry.
    """
    labels = Labels()
    annotations = Annotations(content, options)
    labels.class_names = annotations.class_names
    found = entries(content, "videos")
    if options.video is not None and len(found) > 1:
        raise content.error(f"has {len(found)} videos: --video is for files of one")
    videos = by_id(found, lambda entry: _read_video(entry, options, labels))
    known: set[str] = set()
    for entry, video in zip(found, videos.values()):
        if video.video_id in known:
            raise entry.error(f"is called {video.video_id!r}, as an entry before it is")
        known.add(video.video_id)
        labels.looked_at |= {(video.video_id, number) for number in video.numbers}
    persons: set[int] = set()
    for place, entry in enumerate(content.each("annotations")):
        if (number := entry.get("video_id")) not in videos:
            raise entry.error(f"has the video_id {number!r}, which no entry of 'videos' has")
        person = entry.whole("id") if "id" in entry else place
        if person in persons or person < 0:
            raise entry.error(f"has the id {person}, expected a number that no other one has")
        persons.add(person)
        _read_track(entry, person, videos[number], annotations, labels)
    annotations.check_attributes()
    settle(labels)
    return labels


class _Video(NamedTuple):
    video_id: str
    numbers: list[int]  # of the frames that the file names


def _read_video(entry: Entry, options: ImportOptions, labels: Labels) -> _Video:
    names = []
    for name in entry.items("file_names"):
        if not isinstance(name.value, str) or not name.value.strip():
            raise name.error("is no name of a file")
        names.append(name.value.replace("\\", "/"))
    if not names:
        raise entry.error("has no file_names")
    if len(set(names)) < len(names):
        raise entry.error("has a file name twice")
    folders = {str(PurePosixPath(name).parent) for name in names}
    if len(folders) > 1:
        raise entry.error("has file_names in several folders")
    if options.video is not None:
        video_id = options.video
    elif "name" in entry or "file_name" in entry:
        video_id = video_name(entry.text("name", "file_name"))
    elif folders != {"."}:
        video_id = video_name(folders.pop())
    else:
        raise entry.error("has file_names without a folder: say which video it is, --video NAME")
    add_size(labels, video_id, entry)
    numbers = stored_numbers(
        [PurePosixPath(name).name for name in names], options.videos / video_id
    )
    if numbers is None:
        _check_consecutive(entry, names, options.videos / video_id)
        labels.remarks["videos whose frames are counted as the file lists them"] += 1
        numbers = list(range(1, len(names) + 1))
    if len(set(numbers)) < len(numbers):  # endings do not count
        raise entry.error(f"has two file_names for the same frame in {options.videos / video_id}")
    return _Video(video_id, numbers)


def _check_consecutive(entry: Entry, names: list[str], folder: Path) -> None:
    """Refuse a video file whose frames were chosen: which ones, only their folder tells."""
    if not any(folder.with_name(folder.name + ending).is_file() for ending in VIDEO_EXTENSIONS):
        return
    numbers = [split[1] for name in names if (split := split_number(name))]
    if numbers not in (list(range(len(names))), list(range(1, len(names) + 1))):
        raise entry.error(
            f"has file_names that are not numbered one by one from 0 or 1, and {folder} is a video "
            "file: use the folder of the frames in its place"
        )


def _read_track(
    entry: Entry, person: int, video: _Video, annotations: Annotations, labels: Labels
) -> None:
    """Add the boxes of a person."""
    boxes, masks = (
        _by_frame(entry, name, len(video.numbers)) for name in ("bboxes", "segmentations")
    )
    if boxes is None and masks is None:
        raise entry.error("has no bboxes or segmentations")
    actions = annotations.actions(entry)
    crowd = bool(entry.value.get("iscrowd"))
    if crowd:
        labels.remarks[CROWDS] += 1
    nothing = [None] * len(video.numbers)
    for number, bbox, mask in zip(video.numbers, boxes or nothing, masks or nothing):
        if bbox is None and mask is None:
            continue
        box = None if crowd else annotations.box(entry, bbox, mask, labels)
        if box is None:
            labels.unclear.add((video.video_id, number))
        else:
            labels.boxes.append(PersonBox(video.video_id, number, box, actions, person))


def _by_frame(entry: Entry, name: str, count: int) -> list[Entry | None] | None:
    """Return the members of a list with one for each frame, None where it is null."""
    if name not in entry:
        return None
    values = entry.items(name)
    if len(values) != count:
        raise entry.error(f"has {len(values)} {name}, but its video has {count} file_names")
    return [value if value.value is not None else None for value in values]
