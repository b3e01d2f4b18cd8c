"""Frames that wait for the next key frame's result, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from tubedet.data.video.sources import FrameSource


class WaitingFrames(AbstractContextManager):
    """Frames in order, each until it is taken as an image.

    Between two key frames of a video of high rate or size there may be gigabytes of frames. Those
    beyond a limit are let go, and decoded once more when their turn comes, where the source can be
    read a second time: a file can, a camera cannot.

    Args:
        source: what the frames come from.
        max_bytes: memory that they may take.

    Attributes:
        num_bytes: memory that they take.
    """

    def __init__(self, source: FrameSource, *, max_bytes: int = 256 << 20):
        self.num_bytes = 0
        self._source = source
        self._max_bytes = max_bytes
        self._waiting: deque[tuple[float, Any, int]] = deque()
        self._second: FrameSource | None = None
        self._second_frames: Iterator[tuple[float, Any]] = iter(())
        self._last: tuple[float, Any] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first_time(self) -> float:
        """Seconds: time of the frame that is taken next."""
        return self._waiting[0][0]

    def append(self, time: float, stored: Any) -> None:
        """Take in the next frame.

        Args:
            time: seconds since the first frame of the source.
            stored: from :meth:`.FrameSource.stored_frames`.
        """
        size = self._source.num_bytes(stored)
        if self.num_bytes + size > self._max_bytes and self._source.is_repeatable:
            stored, size = None, 0
        self.num_bytes += size
        self._waiting.append((time, stored, size))

    def popleft(self) -> tuple[float, np.ndarray]:
        """Take the first frame.

        Returns:
            Its time, and the image, uint8 (H, W, 3), RGB.

        Raises:
            VideoError: if it has to be read again, and cannot be.
        """
        time, stored, size = self._waiting.popleft()
        self.num_bytes -= size
        image = self._source.rgb(self._read_again(time) if stored is None else stored)
        return time, np.ascontiguousarray(image)

    def _read_again(self, time: float) -> Any:
        """Decode the frame of a time once more; later ones follow in the same pass."""
        if self._second is None:
            self._second = self._source.reopened()
            self._second_frames = self._second.stored_frames(time)
        while self._last is None or self._last[0] < time:
            self._last = next(self._second_frames, self._last)
            assert self._last is not None  # the first pass had a frame of this time
        return self._last[1]

    def __exit__(self, *exc_info) -> None:
        if self._second is not None:
            self._second.close()
