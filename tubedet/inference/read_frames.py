"""Frames of a video, read and resized ahead of the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.data import transforms as T

from tubedet.data.video.sources import FrameSource


@dataclass(frozen=True)
class ReadFrame:
    """A frame that was read and resized for the model.

    Attributes:
        time: seconds since the first frame.
        resized: uint8 (H, W, 3), RGB.
        stored: the frame in its full size as the decoder made it; None: it is not wanted.
        num_bytes: memory of both.
    """

    time: float
    resized: np.ndarray
    stored: Any
    num_bytes: int


def read_frames(
    source: FrameSource,
    start: float,
    augmentations: T.AugmentationList,
    *,
    min_decoded_side: int | None,
    keep_stored: bool,
) -> Iterator[ReadFrame]:
    """Read and resize; what the augmentations draw holds for the whole video.

    Args:
        source: the video.
        start: seconds since the first frame.
        augmentations: those of evaluation.
        min_decoded_side: see :class:`~tubedet.inference.VideoActionDetector`.
        keep_stored: hand out ``stored``, too.

    Yields:
        ReadFrame: the frames in order.
    """
    resize = None
    for time, stored in source.stored_frames(start):
        image = source.rgb(stored, min_short_side=min_decoded_side)
        if resize is None:
            resize = augmentations(T.AugInput(image))
        resized = resize.apply_image(image)
        num_bytes = resized.nbytes + (source.num_bytes(stored) if keep_stored else 0)
        yield ReadFrame(time, resized, stored if keep_stored else None, num_bytes)
