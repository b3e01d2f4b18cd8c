"""Which frame of which video each image of COCO-style json is."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tubedet.data.annotations.text import AnnotationError

from .coco_entries import Id, add_size, attributes_of, by_id, entries, video_name
from .json_file import Entry
from .labels import ImportOptions, Labels, Moment
from .stored_frames import split_number, stored_numbers

_LARGEST = 10**7  # number of a frame
_KEYS = ("frame_index", "frame", "frame_id")
_NEAR = {-1, 0, 1}  # how numbers of the same frame differ that are counted from 0 and from 1
# How CVAT calls the frames of a video, which it counts from 0.
_CVAT_NAME = re.compile(r"(.*/)?frame_[0-9]{6}\.(png|jpg|jpeg)", re.IGNORECASE)


class _Image(NamedTuple):
    place: str  # in the file
    video_id: str
    number: int  # of the frame, as the file counts
    key: str  # where the number comes from; "" for the file name
    file_name: str
    prefix: str  # what the file name has before the number, if that is from there


class CocoImages:
    """The videos and the images of a file.

    The number of a frame is that of the file, unless the folder of the video's frames is at hand:
    there pictures are found by their names. Files of half a video, or of every fifth frame, count
    these for themselves.

    Args:
        path: the file.
        content: what it holds.
        options: ``videos``, ``video`` and ``first_frame``.
        labels: gets sizes and remarks.

    Attributes:
        moments: video and frame, from 1, of each image, by its id.

    Raises:
        AnnotationError: if an image cannot be placed, or two are the same frame.
    """

    def __init__(self, path: Path, content: Entry, options: ImportOptions, labels: Labels):
        self._path = path
        self._content = content
        self._options = options
        self._labels = labels
        self._video_ids = self._read_videos()
        self._unlisted: set[Id] = set()  # videos of a file that does not list them
        found = content.each("images") if "images" in content else ()
        images = by_id(found, self._read_image)
        self._first_frame = self._find_first_frame(images.values())
        self.moments = dict(zip(images, self._place(list(images.values()))))

    def moment_of(self, entry: Entry) -> Moment:
        """Return the video and the frame, from 1, of an annotation.

        Args:
            entry: with ``image_id``, or a video and a frame of its own.

        Raises:
            AnnotationError: if it has neither, or there is no such image or video.
        """
        if "image_id" in entry:
            image = entry.get("image_id")
            if image not in self.moments:
                raise entry.error(f"has the image_id {image!r}, which no entry of 'images' has")
            return self.moments[image]
        return self._video_of(entry), self._counted(entry.place, entry.whole(*_KEYS))

    def _error(self, place: str, problem: str) -> AnnotationError:
        return AnnotationError(f"{self._path}: {place} {problem}")

    def _read_videos(self) -> dict[Id, str]:
        found = entries(self._content, "videos")
        names = by_id(found, lambda entry: video_name(entry.text("file_name", "name")))
        if self._options.video is not None and found:
            if len(found) > 1:
                raise self._content.error(f"has {len(found)} videos: --video is for files of one")
            names = dict.fromkeys(names, self._options.video)
        counts = Counter(names.values())
        for entry, name in zip(found, names.values()):
            if counts[name] > 1:
                raise entry.error(f"is called {name!r}, as another entry is")
            add_size(self._labels, name, entry)
        return names

    def _read_image(self, entry: Entry) -> _Image:
        video_id = self._video_of(entry)
        add_size(self._labels, video_id, entry)
        file_name = entry.value.get("file_name")
        file_name = file_name.replace("\\", "/") if isinstance(file_name, str) else ""
        if key := next((name for name in _KEYS if name in entry), ""):
            return _Image(entry.place, video_id, entry.whole(key), key, file_name, "")
        if (split := split_number(file_name)) is None:
            raise entry.error(f"has no {', '.join(_KEYS)}, and no number in its file_name")
        return _Image(entry.place, video_id, split[1], "", file_name, split[0])

    def _video_of(self, entry: Entry) -> str:
        name = self._options.video
        if "video_id" not in entry:
            if name is None or self._video_ids:
                raise entry.error(
                    "has no video_id: if the images are frames of one video, as in CVAT's COCO "
                    "export of a video task, say of which: --video NAME; single images are no video"
                )
            return name
        video = entry.get("video_id")
        if self._video_ids:
            if video not in self._video_ids:
                raise entry.error(f"has the video_id {video!r}, which no entry of 'videos' has")
            return self._video_ids[video]
        self._unlisted.add(video)
        if name is not None and len(self._unlisted) > 1:
            raise entry.error("is of a second video: --video is for files of one")
        return name or video_name(str(video))

    def _find_first_frame(self, images: Collection[_Image]) -> int | None:
        """Return what the file calls the first frame of a video; None if it does not tell."""
        if self._options.first_frame is not None:
            return self._options.first_frame
        if any(image.number == 0 for image in images):
            return 0
        first = next(self._content.each("annotations"))
        if (
            images
            and "keyframe" in attributes_of(first)
            and all(
                # Frames that ffmpeg has written are often called so, too, but from 1 on.
                not image.key and image.number > 1 and _CVAT_NAME.fullmatch(image.file_name)
                for image in images
            )
        ):
            return 0
        own = (e for e in self._content.each("annotations") if "image_id" not in e)
        return 0 if any(e.whole(*_KEYS) == 0 for e in own) else None

    def _place(self, images: list[_Image]) -> list[Moment]:
        """Moments of the images."""
        videos: dict[str, list[int]] = defaultdict(list)
        for i, image in enumerate(images):
            videos[image.video_id].append(i)
        moments: dict[Moment, int] = {}
        for video_id, members in videos.items():
            for i, number in zip(members, self._numbers(video_id, [images[i] for i in members])):
                if moments.setdefault((video_id, number), i) != i:
                    raise self._error(
                        images[i].place,
                        f"is frame {number} of {video_id!r} (from 1), as an image before it is",
                    )
        return sorted(moments, key=moments.__getitem__)

    def _numbers(self, video_id: str, images: list[_Image]) -> list[int]:
        """Numbers from 1 of the images of one video."""
        by_name = [image for image in images if not image.key]
        if len({image.prefix for image in by_name}) > 1:
            raise self._error(
                by_name[0].place,
                "and others of this video differ in more than the numbers of their file names: "
                "which frames are they?",
            )
        folder = self._options.videos / video_id
        stored = stored_numbers([PurePosixPath(i.file_name).name for i in images], folder)
        if stored is None:
            if by_name:
                counted = f"counted from {self._first_frame}"
                self._labels.remarks[f"frames numbered by their file names, {counted}"] += len(
                    by_name
                )
            self._check_names([image for image in images if image.key], folder)
            return [self._counted(image.place, image.number) for image in images]
        keyed = [(i, n) for i, n in zip(images, stored) if i.key]
        shifts = {number - image.number for image, number in keyed}
        if not shifts <= _NEAR:  # chosen frames are counted for themselves
            self._labels.remarks["frames found by their names; they are counted otherwise"] += len(
                keyed
            )
            return stored
        if self._first_frame is None and len(shifts) == 1:
            self._first_frame = 1 - min(shifts)  # the folder tells
        for image, number in keyed:
            if self._counted(image.place, image.number) != number:
                raise self._error(
                    image.place,
                    f"has the {image.key} {image.number}, but {image.file_name} is frame {number} "
                    f"(from 1) in {folder}",
                )
        return stored

    def _check_names(self, images: list[_Image], folder: Path) -> None:
        """Refuse frames that are counted otherwise than the numbers in their file names."""
        splits = [split_number(image.file_name) for image in images]
        if len({split and split[0] for split in splits}) > 1:
            return
        for image, split in zip(images, splits):
            if split and split[1] < _LARGEST and split[1] - image.number not in _NEAR:
                raise self._error(
                    image.place,
                    f"has the {image.key} {image.number}, but its file is {image.file_name}: which "
                    f"frame is it? With the frames in {folder} it is found by its name",
                )

    def _counted(self, place: str, number: int) -> int:
        """Return the number of a frame counted from 1."""
        first = self._first_frame
        if first is None:
            raise self._error(place, "and others: how are frames counted? --first-frame 0 or 1")
        if number < first:
            raise self._error(place, f"has the frame {number}, but the first one is {first}")
        if number >= _LARGEST:
            raise self._error(place, f"has the frame {number}, expected less than {_LARGEST}")
        return number - first + 1
