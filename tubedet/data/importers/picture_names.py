"""Which video a picture was taken from, and when, by its file name."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import PurePosixPath
from urllib.parse import unquote

from tubedet.data.video.media_paths import video_paths

from .json_file import Entry
from .labels import ImportOptions, Moment

# Names of pictures that tell nothing of their video, as img_00001.jpg.
_GENERAL = ("", "img", "image", "frame", "flow", "pic", "picture", "screenshot", "thumb")
_GENERAL_END = re.compile(r"(.+?)[_-]+(?:img|image|frame|pic|picture)", re.DOTALL | re.IGNORECASE)
_NAME = re.compile(r"(?:(?P<video>.*?)[_-]+)?(?P<number>[0-9]{1,18})", re.DOTALL)
_NAME_WITHOUT_DASH = re.compile(r"(?P<video>.*?)(?P<number>[0-9]{1,18})", re.DOTALL)


def plain_path(name: str) -> PurePosixPath:
    """Return the path of a file without what a URL has around it.

    Args:
        name: a name, a path of any system, or a URL.
    """
    if "://" in name:
        name = unquote(re.split(r"[?#]", name.partition("://")[2])[0])
    return PurePosixPath(name.replace("\\", "/"))


class PictureClock:
    """Tells moments from the names of pictures such as ``gym_000031.jpg``.

    The video is what stands before the number; or the folder, where all pictures are called alike.

    Args:
        options: ``picture_fps``, pictures in a second; ``first_frame``, the number of the first
            one; ``video``, where the names do not tell it.
        remarks: takes what the user should know.
    """

    def __init__(self, options: ImportOptions, remarks: Counter[str]):
        self._options = options
        self._remarks = remarks
        self._videos: set[str] = set()
        self._known: dict[str, Moment] = {}

    def moment(self, name: str, entry: Entry) -> Moment:
        """Return video and second of a picture.

        Args:
            name: of its file, may have folders.
            entry: where it stands.

        Raises:
            AnnotationError: if the name does not tell it, or options are missing.
        """
        if name not in self._known:
            self._known[name] = self._read(name, entry)
        return self._known[name]

    def _read(self, name: str, entry: Entry) -> Moment:
        options = self._options
        path = plain_path(name)
        found = _NAME.fullmatch(path.stem)
        if options.video is not None:
            found = found or _NAME_WITHOUT_DASH.fullmatch(path.stem)
        if not found:
            raise entry.error(
                f"has the picture {name!r}, expected the video's name and a number, as "
                "gym_000031.jpg"
            )
        video = found["video"] or ""
        if video.lower() in _GENERAL:
            video = path.parent.name
        elif ending := _GENERAL_END.fullmatch(video):  # gym_frame_000031.jpg
            video = self._without_ending(video, ending[1])
        self._videos.add(video)
        if options.video is not None:
            if len(self._videos) > 1:
                raise entry.error(
                    f"has the picture {name!r}: --video {options.video} cannot be right, the "
                    f"pictures are of several videos: {', '.join(sorted(self._videos))}"
                )
            video = options.video
        if not video:
            raise entry.error(
                f"has the picture {name!r}, which does not tell its video: --video NAME"
            )
        return video, self._second(int(found["number"]), name, entry)

    def _without_ending(self, full: str, short: str) -> str:
        """Return the name of a video by that of its pictures, gym_frame."""
        folder = str(self._options.videos)
        if os.path.exists(video_paths([full], frames_dir=folder, videos_dir=folder)[full]):
            return full
        self._remarks[f"pictures of {full!r}: the video is taken to be {short!r}"] += 1
        return short

    def _second(self, number: int, name: str, entry: Entry) -> float:
        rate, first = self._options.picture_fps, self._options.first_frame
        if rate is None:
            raise entry.error(
                f"has the picture {name!r}: say how many pictures a second of video has, "
                "--picture-fps 30 if they were taken with 'ffmpeg -r 30', the rate of the video "
                "if they are all its frames"
            )
        if first is None:
            first = 1
            self._remarks["pictures are counted from 1, as ffmpeg does; else --first-frame 0"] += 1
        if number < first:
            raise entry.error(
                f"has the picture {name!r}: say how pictures are counted, --first-frame 0 or 1"
            )
        return (number - first) / rate
