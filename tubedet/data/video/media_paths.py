"""Where the frames or the file of each video are."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .frame_names import FRAME_EXTENSIONS
from .reader import VIDEO_EXTENSIONS


def video_paths(video_ids: Iterable[str], *, frames_dir: str, videos_dir: str) -> dict[str, str]:
    """Path of each video: its frame folder if there is one, else its file.

    Lists folders and opens nothing. A missing video gets the path where it should be; reading it is
    what fails. Endings of files may be in capitals (``a.AVI``).

    Args:
        video_ids: ids; one with slashes, ``class/video``, lies in subfolders of that name.
        frames_dir: folder with a folder of frames for each video.
        videos_dir: folder with video files; may be the same one.

    Returns:
        Path by video id.
    """
    frames = {parent: _entries(frames_dir, parent) for parent in map(os.path.dirname, video_ids)}
    endings = {parent: _with_small_endings(_entries(videos_dir, parent)) for parent in frames}
    has_files = os.path.isdir(videos_dir)
    found = {}
    for video_id in video_ids:
        parent, name = os.path.split(video_id)
        candidates = [name + extension for extension in VIDEO_EXTENSIONS]
        stored = endings[parent]
        if frames[parent].get(name, False) or (os.path.isdir(frames_dir) and not has_files):
            found[video_id] = os.path.join(frames_dir, video_id)
        else:
            file_name = next((stored[n] for n in candidates if n in stored), candidates[0])
            found[video_id] = os.path.join(videos_dir, parent, file_name)
    return found


def missing_media(path: str) -> str:
    """Say what was looked for where a video is not.

    Args:
        path: where :func:`video_paths` expects it.

    Returns:
        str: a sentence without its full stop.
    """
    stem, ending = os.path.splitext(path)
    if ending not in VIDEO_EXTENSIONS:
        return f"there is no such folder with frames ({', '.join(FRAME_EXTENSIONS)}): {path}"
    return (
        f"there is no video {stem} with one of the endings {', '.join(VIDEO_EXTENSIONS)} and no "
        "folder of that name with frames"
    )


def _with_small_endings(names: Iterable[str]) -> dict[str, str]:
    """Names as stored by the same names with the ending in small letters."""
    # Sorted: of a.MP4 and a.mp4 the latter, which comes last, is meant.
    return {stem + e.lower(): stem + e for stem, e in map(os.path.splitext, sorted(names))}


def _entries(folder: str, parent: str) -> dict[str, bool]:
    """Names in a subfolder and whether each is a folder itself; empty if there is none."""
    try:
        with os.scandir(os.path.join(folder, parent)) as entries:
            return {entry.name: entry.is_dir() for entry in entries}
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: a NUL in the name
        return {}
