"""How many frames a file of annotations may state: each of them takes memory later."""

from __future__ import annotations

import os
from os import PathLike

from tubedet.files.pickle_names import brief

from .text import AnnotationError

MOST_FRAMES = 10**6  # of a video: ten hours
_MOST_FRAMES_PER_BYTE = 20  # of a file, beyond those


def check_frames_of_video(video_id: str, num_frames: int, path: str | PathLike) -> None:
    """Refuse a video of more frames than ten hours have.

    Args:
        video_id: the video.
        num_frames: how many the file states.
        path: the file.

    Raises:
        AnnotationError: if there are too many.
    """
    if num_frames > MOST_FRAMES:
        raise AnnotationError(
            f"{path}: {video_id!r} has {brief(num_frames)} frames, at most {MOST_FRAMES} are "
            "expected"
        )


def check_stated_frames(num_frames: int, path: str | PathLike) -> None:
    """Refuse more frames than a file of this size annotates.

    Args:
        num_frames: how many the file states, those of all its videos and tracks together.
        path: the file.

    Raises:
        AnnotationError: if there are too many.
    """
    most = MOST_FRAMES + _MOST_FRAMES_PER_BYTE * os.path.getsize(path)
    if num_frames > most:
        raise AnnotationError(
            f"{path}: it states {num_frames:,} frames, and at most {most:,} are expected in a file "
            "of its size; export fewer videos at once"
        )
