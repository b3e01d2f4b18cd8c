"""Index files: the times of a video's frames, kept beside the video.

``.gym.mp4.frames.json`` belongs to ``gym.mp4``. It holds for the size and the modification time of
the video that it names; a file that does not hold, or is damaged, is as good as none and is
replaced.
"""

from __future__ import annotations

import json
import logging
import os
import re
import zlib
from typing import Any

import av
import numpy as np

from tubedet.files.atomic_writing import open_atomically

logger = logging.getLogger(__name__)

_VERSION = 1
_MAX_BYTES = 32 << 20  # a day of video has 13 to 26 MB
_MAX_OTHER_BYTES = 4096
# The steps between frames are nearly all of the file. As json they would take 23 times as much.
_STEPS = re.compile(rb'"steps":\[([0-9,]*)\]')


def index_file_path(video: str) -> str:
    """Return the path of the index file of a video.

    Args:
        video: path of the video.
    """
    folder, name = os.path.split(video)
    return os.path.join(folder, f".{name}.frames.json")


def load_index_file(video: str, *, size: int, mtime_ns: int) -> dict[str, Any] | None:
    """Read the index file of a video.

    Args:
        video: path of the video.
        size: of the video, bytes.
        mtime_ns: its modification time, nanoseconds.

    Returns:
        dict: ``pts`` (int64 array, ascending), ``is_counted`` and ``end``; None if there is no such
        file or it does not hold.
    """
    path = index_file_path(video)
    try:
        if os.path.getsize(path) > _MAX_BYTES:
            return None
        with open(path, "rb") as stream:
            content, steps = _parsed(stream.read(_MAX_BYTES))
        if content["video"] != _identity(size, mtime_ns):
            return None
        return _checked(content, steps)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        logger.info("%s is not used: %s", path, error)
        return None


def save_index_file(video: str, content: dict[str, Any], *, size: int, mtime_ns: int) -> None:
    """Write the index file of a video, if its folder can be written to.

    Args:
        video: path of the video.
        content: as :func:`load_index_file` returns it.
        size, mtime_ns: likewise.
    """
    pts = content["pts"].tolist()
    steps = [after - before for before, after in zip(pts, pts[1:])]
    stored = {
        "video": _identity(size, mtime_ns),
        "first": pts[0],
        "steps": steps,
        "checksum": _checksum(content["pts"]),
        "is_counted": content["is_counted"],
        "end": content["end"],
    }
    path = index_file_path(video)
    try:
        with open_atomically(path) as stream:
            json.dump(stored, stream, separators=(",", ":"))
    except OSError as error:
        logger.info("%s is not kept: %s", path, error.strerror or error)


def _identity(size: int, mtime_ns: int) -> dict[str, Any]:
    """Say what an index is valid for; another FFmpeg may give frames other time stamps."""
    reader = ".".join(map(str, av.library_versions["libavformat"]))
    return {"version": _VERSION, "size": size, "mtime_ns": mtime_ns, "libavformat": reader}


def _parsed(text: bytes) -> tuple[dict[str, Any], np.ndarray]:
    """Return what the file says, and the steps as numbers, in little more memory than these."""
    found = _STEPS.search(text)
    if found is None:
        raise ValueError("it has no steps")
    other, numbers = text[: found.start(1)] + text[found.end(1) :], found[1]
    if len(other) > _MAX_OTHER_BYTES or numbers[-1:] == b"," or b",," in numbers:
        raise ValueError("it is no index")
    del text, found
    return json.loads(other), np.fromstring(numbers, dtype=np.int64, sep=",")


def _checked(content: dict[str, Any], steps: np.ndarray) -> dict[str, Any]:
    if (steps <= 0).any():
        raise ValueError("its numbers are damaged")
    pts = np.empty(len(steps) + 1, dtype=np.int64)
    pts[0], pts[1:] = content["first"], steps
    np.cumsum(pts, out=pts)
    if content["checksum"] != _checksum(pts):
        raise ValueError("its numbers are damaged")
    is_counted, end = content["is_counted"], content["end"]
    if not isinstance(is_counted, bool) or not isinstance(end, str):
        raise TypeError("is_counted or end is of another kind")
    return {"pts": pts, "is_counted": is_counted, "end": end}


def _checksum(pts: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(pts, dtype="<i8"))
