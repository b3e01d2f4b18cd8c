"""What depends on the version of PyAV; tubedet runs with 14.1 to 19."""

from __future__ import annotations

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


def open_for_reading(path: str, **options: Any) -> InputContainer:
    """Open a media file or URL, whatever bytes its metadata hold.

    Args:
        path: the file, or a URL.
        options: further arguments of :func:`av.open`.

    Raises:
        av.error.FFmpegError: if it cannot be opened.
    """
    return av.open(path, **_ANY_METADATA, **options)


def to_rgb(
    reformatter: VideoReformatter, frame: av.VideoFrame, *, width: int, height: int
) -> np.ndarray:
    """Convert a decoded frame in the calling thread.

    Args:
        reformatter: keeps what was set up for the last frame; to be used by one thread only.
        frame: from a decoder.
        width, height: size of the result, pixels.

    Returns:
        uint8 array (height, width, 3), RGB.
    """
    converted = reformatter.reformat(frame, width, height, format="rgb24", **_ONE_THREAD)
    return converted.to_ndarray()
