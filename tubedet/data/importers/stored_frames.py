"""Numbers of frames by their file names, where the folder of a video's frames is at hand."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tubedet.data.annotations.text import AnnotationError
from tubedet.data.video.frame_names import FrameGapError, sorted_frame_names

_NUMBER = re.compile(r"(.*?)([0-9]{1,18})", re.DOTALL)


def stored_numbers(names: Sequence[str], folder: Path) -> list[int] | None:
    """Find pictures in the folder of a video's frames.

    Args:
        names: file names of pictures; endings do not count, as tools export others.
        folder: where the frames should be.

    Returns:
        number of each picture among the frames that are there, from 1; None if none of them is
        there, as with a video file.

    Raises:
        AnnotationError: if some are there, but not all.
    """
    if not os.path.isdir(folder):
        return None
    try:
        stored = sorted_frame_names(str(folder), os.stat(folder).st_mtime_ns)
    except FrameGapError as error:
        raise AnnotationError(f"{folder}: {error}") from None
    places = {PurePosixPath(os.fsdecode(name)).stem: i for i, name in enumerate(stored, start=1)}
    numbers = [places.get(PurePosixPath(name).stem) for name in names]
    found = [number for number in numbers if number is not None]
    if not found:
        return None
    if len(found) < len(numbers):
        missing = names[numbers.index(None)]
        raise AnnotationError(f"{folder}: there is no frame {missing}, but others of this video")
    return found


def split_number(name: str) -> tuple[str, int] | None:
    """Return what stands before the number at the end of a file name, and the number.

    Args:
        name: of a file, with or without folders.

    Returns:
        the two, such as ("day1/frame_", 7); None if there is no number.
    """
    match = _NUMBER.fullmatch(os.path.splitext(name)[0])
    return (match[1], int(match[2])) if match else None
