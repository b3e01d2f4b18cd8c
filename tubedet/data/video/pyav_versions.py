"""What depends on the version of PyAV; tubedet runs with 14.1 to 19."""

from __future__ import annotations

import errno
import os
from typing import Any

import av
import numpy as np
from av.container import Container, InputContainer
from av.video.reformatter import VideoReformatter

_MAJOR_VERSION = int(av.__version__.partition(".")[0])
# Up to 18, a title that is not UTF-8 stops the opening of a file unless PyAV is told otherwise.
# From 19 on it never does, and there is nothing to tell.
_ANY_METADATA = {"metadata_errors": "replace"} if hasattr(Container, "metadata_errors") else {}
# From 17 on a conversion starts a thread for each core unless told otherwise. Before, it has none.
_ONE_THREAD = {"threads": 1} if _MAJOR_VERSION >= 17 else {}
# The matrices that a file may be tagged with, in FFmpeg's numbers for files and for conversions.
# What is not tagged (RGB, unknown, reserved) is BT.601 to FFmpeg.
_BT709, _BT601 = 1, 5
_MATRICES = {1: _BT709, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: 9}
_UNTAGGED = (0, 2, 3)
_FULL_RANGE = 2


def open_for_reading(path: str, **options: Any) -> InputContainer:
    """Open a media file or URL, whatever bytes its metadata hold.

    Args:
        path: the file, or a URL.
        options: further arguments of :func:`av.open`.

    Raises:
        av.error.FFmpegError: if it cannot be opened.
    """
    return av.open(path, **_ANY_METADATA, **options)


def display_matrix(frame: av.VideoFrame) -> np.ndarray | None:
    """Return how a frame is to be shown, int32 (3, 3); None: as it is.

    Args:
        frame: from a decoder.

    Raises:
        ValueError: if the frame has data of a kind that FFmpeg knows and PyAV does not: 18 has no
            name for EXIF.
    """
    side_data: Any = frame.side_data
    stored = side_data.get("DISPLAYMATRIX")
    return None if stored is None else np.frombuffer(bytes(stored), dtype=np.int32).reshape(3, 3)


def to_rgb(
    reformatter: VideoReformatter, frame: av.VideoFrame, *, width: int, height: int
) -> np.ndarray:
    """Convert a decoded frame in the calling thread, by the matrix and range it is tagged with.

    So do ffmpeg, players and OpenCV 5. Only ffmpeg's jpgs of a tagged video look as if it had been
    BT.601, and published models were trained on ffmpeg's jpgs. What a person sees is preferred;
    untagged videos, which are BT.601 to all of these, have the same pixels either way.

    Args:
        reformatter: keeps what was set up for the last frame; to be used by one thread only.
        frame: from a decoder.
        width, height: size of the result, pixels.

    Returns:
        uint8 array (height, width, 3), RGB.

    Raises:
        OSError: if FFmpeg cannot convert its colours.
    """
    options = _ONE_THREAD if _MAJOR_VERSION >= 17 else _tagged_colours(frame)
    converted = reformatter.reformat(frame, width, height, format="rgb24", **options)
    return converted.to_ndarray()


def _tagged_colours(frame: av.VideoFrame) -> dict[str, int]:
    """Return what makes PyAV before 17 convert as it does from 17 on, and as ffmpeg does.

    It takes everything for BT.601 unless told otherwise, and listens only where the colour space
    changes, so RGB is given another one, which has no effect.
    """
    matrix = _MATRICES.get(frame.colorspace)
    if matrix is None and frame.colorspace not in _UNTAGGED:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    if matrix is None and frame.color_range != _FULL_RANGE:
        return {}
    matrix = matrix or _BT601
    return {
        "src_colorspace": matrix,
        "dst_colorspace": _BT601 if matrix == _BT709 else _BT709,
        "src_color_range": frame.color_range,
    }
