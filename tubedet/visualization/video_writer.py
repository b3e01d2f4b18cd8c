"""Writing frames, one at a time, to a video file."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


class VideoWriter(AbstractContextManager):
    """A video file (H.264 where PyAV has an encoder for it, else MPEG-4; yuv420p) of RGB frames.

    Frames are encoded as they come, so memory does not grow with the length of the video. They go
    to a hidden file beside the wanted one (same folder, ``.NAME.partial.SUFFIX``), which takes its
    name when the writer is closed, and is removed when the ``with`` block ends by an exception:
    whatever bears the wanted name is whole.

    Example::

        with VideoWriter("out.mp4", fps=Fraction(30000, 1001)) as writer:
            for frame in frames:
                writer.write(frame)
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: Fraction | float,
        size: tuple[int, int] | None = None,
        *,
        overwrite: bool = False,
    ):
        """
        Args:
            path: the video to write; the suffix chooses the container (.mp4, .mkv, .avi, .mov).
                Missing folders are made.
            fps: frames per second, > 0.
            size: (width, height) of all frames in pixels; None: those of the first frame. Where
                the codec wants even numbers, the last column or row is repeated once.
            overwrite: whether an existing file may be replaced.

        Raises:
            FileExistsError: if ``path`` exists and ``overwrite`` is False.
            ValueError: if ``fps`` is not positive or the container is unknown.
        """
        self.path = Path(path)
        # 10000 keeps rates such as 30000/1001 exact, and suits the clock of MPEG-4.
        self.fps = Fraction(fps).limit_denominator(10_000)
        self.size = size
        self.num_frames = 0
        if self.fps <= 0:
            raise ValueError(f"{self.path}: fps must be positive, got {fps}")
        if self.path.exists() and not overwrite:
            raise FileExistsError(f"{self.path} exists already; choose another name or remove it")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self.path.with_name(f".{self.path.stem}.partial{self.path.suffix}")
        try:
            self._container = av.open(os.fspath(self._partial), "w")
        except ValueError as error:
            raise ValueError(
                f"{self.path}: no video container has the suffix {self.path.suffix!r}; use .mp4"
            ) from error
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._stream = self._container.add_stream(codec, rate=self.fps)
        self._stream.pix_fmt = "yuv420p"
        if codec == "libx264":
            self._stream.options = {"crf": "18", "preset": "veryfast"}

    def write(self, frame_rgb: np.ndarray) -> None:
        """Appends one frame.

        Args:
            frame_rgb: uint8 array (H, W, 3), RGB.

        Raises:
            ValueError: if it has another dtype, number of channels or size than the first frame.
        """
        if frame_rgb.dtype != np.uint8 or frame_rgb.ndim != 3 or frame_rgb.shape[2] != 3:
            raise ValueError(
                f"{self.path}: frames must be uint8 (H, W, 3), got {frame_rgb.dtype} "
                f"{frame_rgb.shape}"
            )
        height, width = frame_rgb.shape[:2]
        if self.size is None:
            self.size = (width, height)
        if (width, height) != self.size:
            raise ValueError(
                f"{self.path}: frame {self.num_frames} is {width}x{height} pixels, but the video "
                f"is {self.size[0]}x{self.size[1]}"
            )
        if self.num_frames == 0:
            self._stream.width, self._stream.height = width + width % 2, height + height % 2
            if self._stream.codec_context.name == "mpeg4":
                self._stream.bit_rate = int(0.2 * width * height * self.fps)
        if width % 2 or height % 2:
            frame_rgb = np.pad(frame_rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_rgb), format="rgb24")
        frame.pts, frame.time_base = self.num_frames, 1 / self.fps
        self._container.mux(self._stream.encode(frame))
        self.num_frames += 1

    def close(self) -> None:
        """Finishes the file and gives it its name.

        Raises:
            ValueError: if no frame was written; there is no such video.
        """
        if self.num_frames == 0:
            self.discard()
            raise ValueError(f"{self.path}: not a single frame was written")
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._partial.replace(self.path)

    def discard(self) -> None:
        """Stops writing and removes what was written so far."""
        self._container.close()
        self._partial.unlink(missing_ok=True)

    def __exit__(self, exc_type, *exc_info) -> None:
        if exc_type is None:
            self.close()
        else:
            self.discard()
