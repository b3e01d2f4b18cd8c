"""Where the frames or the file of each video are."""

from __future__ import annotations

import os
from collections.abc import Iterable

from .video_reader import VIDEO_EXTENSIONS


def video_paths(video_ids: Iterable[str], *, frames_dir: str, videos_dir: str) -> dict[str, str]:
    """Path of each video: its frame folder if there is one, else its file.

    Lists folders and opens nothing. A missing video gets the path where it should be; reading it is
    what fails.

    Args:
        video_ids: ids; one with slashes, ``class/video``, lies in subfolders of that name.
        frames_dir: folder with a folder of frames for each video.
        videos_dir: folder with video files; may be the same one.

    Returns:
        Path by video id.
    """
    frames = {parent: _entries(frames_dir, parent) for parent in map(os.path.dirname, video_ids)}
    files = {parent: _entries(videos_dir, parent) for parent in frames}
    has_files = os.path.isdir(videos_dir)
    found = {}
    for video_id in video_ids:
        parent, name = os.path.split(video_id)
        candidates = [name + extension for extension in VIDEO_EXTENSIONS]
        if frames[parent].get(name, False) or (os.path.isdir(frames_dir) and not has_files):
            found[video_id] = os.path.join(frames_dir, video_id)
        else:
            file_name = next((n for n in candidates if n in files[parent]), candidates[0])
            found[video_id] = os.path.join(videos_dir, parent, file_name)
    return found


def _entries(folder: str, parent: str) -> dict[str, bool]:
    """Names in a subfolder and whether each is a folder itself; empty if there is none."""
    try:
        with os.scandir(os.path.join(folder, parent)) as entries:
            return {entry.name: entry.is_dir() for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return {}
