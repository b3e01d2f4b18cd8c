"""Which video a task of Label Studio is about."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote

from tubedet.data.video.media_paths import video_paths
from tubedet.data.video.reader import VIDEO_EXTENSIONS

from .json_file import Entry
from .picture_names import plain_path

_SERVED = re.compile(r"/local-files/?\?d=([^&]+)")
_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")  # which Label Studio puts before names of uploads


def video_name(data: Entry, folder: Path, remarks: Counter[str]) -> str:
    """Return the name of a task's video, its file's name without the ending.

    Uploads have eight digits before their names, as ``upload/1/0a1b2c3d-gym.mp4``. They are left
    out, unless the folder of the videos has a file that is called so.

    Args:
        data: of the task.
        folder: of the videos.
        remarks: takes what the user should know.

    Raises:
        AnnotationError: if the data do not tell it.
    """
    url = _url(data)
    served = _SERVED.search(url)  # a file of the machine itself
    path = plain_path(unquote(served[1]) if served else url)
    stored = path.stem
    name = _PREFIX.sub("", stored, count=1)
    if not name:
        raise data.error(f"has the video {url!r}, which has no name: --video NAME")
    if name == stored:
        return name
    there = [
        candidate
        for candidate, path in video_paths(
            (name, stored), frames_dir=str(folder), videos_dir=str(folder)
        ).items()
        if os.path.exists(path)
    ]
    if len(there) == 2:
        raise data.error(
            f"has the video {url!r}, and {folder} has {name!r} and {stored!r}: --video NAME"
        )
    chosen = there[0] if there else name
    remarks[f"the video of {path.name!r} is taken to be {chosen!r}"] += 1
    return chosen


def _url(data: Entry) -> str:
    """Return the address of the video, whatever the task calls it."""
    if "video" in data:
        return data.text("video")
    texts = [entry.value for entry in data.members().values()]
    videos = [t for t in texts if isinstance(t, str) and t.lower().endswith(VIDEO_EXTENSIONS)]
    if len(videos) != 1:
        raise data.error(f"has {len(videos)} names of videos, expected one: --video NAME")
    return videos[0]
