"""Everything that frames can come from, behind one interface: they come in order, with times."""

from __future__ import annotations

import itertools
import os
import time as clock
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sized
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tubedet.errors import UserError
from tubedet.files.urls import is_url, url_stem

from .container import MAX_PIXELS, VideoError
from .reader import FrameFolderReader, open_video
from .video_file import VideoFileReader

_DEFAULT_FPS = 30.0


def open_frame_source(
    source: str | os.PathLike | int | Iterable[np.ndarray] | FrameSource,
    *,
    fps: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> FrameSource:
    """Open whatever frames can come from.

    Args:
        source: a video file, a URL that FFmpeg opens, a folder of frames or a single image; the
            index of a camera; or an iterable of uint8 RGB images (H, W, 3) of one size, such as a
            generator or an array (T, H, W, 3). An opened source is returned as it is.
        fps: frames per second of an iterable, or of a folder (None: 30). The others have times of
            their own.
        max_pixels: largest frame of a video file or URL; larger ones are refused, and left out
            where they come later.

    Returns:
        The source; close it, or use it as a context manager.

    Raises:
        VideoError: if nothing is there, it cannot be read or it holds no frame.
        ValueError: if ``fps`` is missing, given in vain, or not positive.
        TypeError: if it is none of these.
    """
    if fps is not None and not 0 < fps < float("inf"):
        raise UserError(f"fps must be a positive number, got {fps}")
    if isinstance(source, FrameSource):
        opened = source
    elif isinstance(source, (str, os.PathLike)):
        opened = _open_path(os.fspath(source), fps, max_pixels)
    elif isinstance(source, int):
        opened = CameraSource(source)
    elif isinstance(source, Iterable):
        if fps is None:
            raise UserError("an iterable of frames does not tell its rate: give fps")
        opened = FrameIteratorSource(source, fps)
    else:
        raise TypeError(
            "frames come from a path, a URL, the index of a camera or an iterable of images, "
            f"not from {type(source).__name__}"
        )
    if fps is not None and not isinstance(opened, (FrameFolderSource, FrameIteratorSource)):
        if opened is not source:
            opened.close()
        raise UserError(f"{opened.path or opened.name} has its own frame rate: fps cannot be set")
    return opened


def _open_path(path: str, fps: float | None, max_pixels: int) -> FrameSource:
    if is_url(path):
        return VideoFileSource(VideoFileReader(path, max_pixels=max_pixels))
    reader = open_video(path, folder_fps=fps or _DEFAULT_FPS, max_pixels=max_pixels)
    if isinstance(reader, FrameFolderReader):
        return FrameFolderSource(reader, path)
    return VideoFileSource(reader)


class FrameSource(AbstractContextManager, ABC):
    """Frames in order, each with its time. Iterate over it once.

    Iteration gives (seconds since the first frame, uint8 upright RGB image (H, W, 3)).

    Attributes:
        name: stem of the file, name of the folder, "camera0" or "frames".
        path: file, URL or folder; None if there is none.
        rate: frames per second, a :class:`fractions.Fraction`; the average one where it varies.
        num_frames: how many come, as far as known beforehand: an estimate; None: not known.
        duration: length in seconds, as good as ``num_frames``.
        height, width: size of the frames, pixels.
        sample_aspect_ratio: width of a pixel by its height.
        is_repeatable: whether :meth:`reopened` can read it a second time.
    """

    is_repeatable: bool = False
    name: str
    path: str | None = None
    rate: Fraction
    num_frames: int | None = None
    duration: float | None = None
    height: int
    width: int
    sample_aspect_ratio: Fraction = Fraction(1)

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        for time, stored in self.stored_frames():
            yield time, self.rgb(stored)

    @abstractmethod
    def stored_frames(self, start: float = 0.0) -> Iterator[tuple[float, Any]]:
        """Return the frames in the form which takes the least memory.

        Args:
            start: seconds since the first frame. Frames before it may be left out, all but the
                last one of them, where that saves work.

        Returns:
            Iterator over (seconds since the first frame, frame for :meth:`rgb`), for one pass.

        Raises:
            VideoError: where it cannot be read.
        """

    def rgb(self, stored: Any, *, min_short_side: int | None = None) -> np.ndarray:
        """Return a frame as an image; may be called in any thread while frames are being read.

        Args:
            stored: from :meth:`stored_frames`.
            min_short_side: the image may come at 1/2, 1/4 or 1/8 of its size if its short side
                keeps so many pixels, where that saves work. None: in full size.

        Returns:
            uint8 array (H, W, 3), RGB.
        """
        del min_short_side
        return stored

    def num_bytes(self, stored: Any) -> int:
        """Memory that a frame takes.

        Args:
            stored: from :meth:`stored_frames`.
        """
        return stored.nbytes

    def reopened(self) -> FrameSource:
        """Open the same source for another pass; only one that ``is_repeatable`` can.

        Raises:
            VideoError: if it is no longer there.
        """
        raise NotImplementedError(f"{type(self).__name__} can be read once")

    @property
    def num_damaged(self) -> int:
        """Frames so far that could not be decoded, or not as a whole."""
        return 0

    def damage_message(self) -> str | None:
        """Say how many frames were damaged so far; None if none was."""
        return None

    def close(self) -> None:
        """Free what the source has opened."""

    def __exit__(self, *exc_info) -> None:
        self.close()


class VideoFileSource(FrameSource):
    """A video file or URL. Frames are stored as decoded, which is half of RGB or less.

    Args:
        reader: the video; it is the source's from now on.
    """

    path: str

    def __init__(self, reader: VideoFileReader):
        self._reader = reader
        self.path = reader.path
        self.is_repeatable = not is_url(reader.path)
        self.name = url_stem(reader.path) if is_url(reader.path) else Path(reader.path).stem
        self.rate, self.num_frames, self.duration = reader.rate, reader.num_frames, reader.duration
        self.height, self.width = reader.height, reader.width
        self.sample_aspect_ratio = reader.sample_aspect_ratio

    def stored_frames(self, start: float = 0.0) -> Iterator[tuple[float, Any]]:
        """See :class:`FrameSource`; decoding begins at the key frame before ``start``."""
        return self._reader.frames_from(start)

    def rgb(self, stored: Any, *, min_short_side: int | None = None) -> np.ndarray:
        """See :class:`FrameSource`."""
        return self._reader.rgb(stored)

    def num_bytes(self, stored: Any) -> int:
        """See :class:`FrameSource`."""
        return sum(plane.buffer_size for plane in stored.planes)

    @property
    def num_damaged(self) -> int:
        """See :class:`FrameSource`."""
        return self._reader.damage.num_lost + self._reader.damage.num_faulty

    def damage_message(self) -> str | None:
        """See :class:`FrameSource`."""
        return self._reader.damage.message(self.num_frames)

    def reopened(self) -> VideoFileSource:
        """See :class:`FrameSource`."""
        return VideoFileSource(self._reader.reopened())

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


class FrameFolderSource(FrameSource):
    """A folder of jpg or png files, or one of them.

    A stored frame is nothing but its time: the file is decoded when it is asked for, at a reduced
    size for the model, as in evaluation.

    Args:
        reader: the frames.
        path: folder or single file.
    """

    path: str

    def __init__(self, reader: FrameFolderReader, path: str):
        self._reader = reader
        self.path = path
        self.name = Path(path).resolve().name if os.path.isdir(path) else Path(path).stem
        self.rate = _exact_rate(reader.fps)
        self.num_frames, self.duration = reader.num_frames, reader.duration
        self.height, self.width = reader.height, reader.width

    def stored_frames(self, start: float = 0.0) -> Iterator[tuple[float, float]]:
        """See :class:`FrameSource`."""
        first = max(int(start * self._reader.fps) - 1, 0)
        for index in range(first, self._reader.num_frames):
            time = index / self._reader.fps
            yield time, time

    def rgb(self, stored: float, *, min_short_side: int | None = None) -> np.ndarray:
        """See :class:`FrameSource`.

        Raises:
            VideoError: if the image cannot be read or has another size than the first one.
        """
        return self._reader.read(np.array([stored]), min_short_side=min_short_side)[0]

    def num_bytes(self, stored: float) -> int:
        """See :class:`FrameSource`."""
        return 0


class FrameIteratorSource(FrameSource):
    """Images that a program makes.

    Args:
        frames: uint8 arrays (H, W, 3), RGB, of one size. They are copied, so that one array may
            be filled again and again.
        fps: frames per second.

    Raises:
        VideoError: if there is none.
        ValueError: if the first one is no such array.
    """

    name = "frames"

    def __init__(self, frames: Iterable[np.ndarray], fps: float):
        self.rate = _exact_rate(fps)
        if isinstance(frames, Sized):
            self.num_frames = len(frames)
            self.duration = float(self.num_frames / self.rate)
        self._frames = iter(frames)
        first = next(self._frames, None)
        if first is None:
            raise VideoError(f"{self.name}: the iterable holds no frame")
        self.height, self.width = np.shape(first)[:2] if np.ndim(first) == 3 else (0, 0)
        self._first = self._checked(0, first)

    def stored_frames(self, start: float = 0.0) -> Iterator[tuple[float, np.ndarray]]:
        """See :class:`FrameSource`.

        Raises:
            ValueError: if an image has another form than the first one.
        """
        for index, frame in enumerate(itertools.chain([self._first], self._frames)):
            yield float(index / self.rate), self._checked(index, frame)

    def _checked(self, index: int, frame: np.ndarray) -> np.ndarray:
        if getattr(frame, "dtype", None) != np.uint8 or frame.shape != (self.height, self.width, 3):
            raise ValueError(
                f"frame {index} must be a uint8 RGB image (H, W, 3) of the size of the first one, "
                f"got {getattr(frame, 'dtype', type(frame).__name__)} {np.shape(frame)}"
            )
        return np.array(frame)


class CameraSource(FrameSource):
    """A camera of this computer. It goes on until it is closed, and times are those of a clock.

    What the camera shows while nobody takes a frame is lost.

    Args:
        index: 0 is the first camera.

    Raises:
        VideoError: if there is no such camera, or it shows nothing.
    """

    def __init__(self, index: int):
        self.name = f"camera{index}"
        self._camera = _open_camera(index)
        is_read, image = self._camera.read() if self._camera.isOpened() else (False, None)
        if not is_read or image is None:
            self.close()
            raise VideoError(f"camera {index}: there is none, or it cannot be read")
        self._first = image
        self.height, self.width = image.shape[:2]
        fps = self._camera.get(cv2.CAP_PROP_FPS)
        self.rate = _exact_rate(fps if 0 < fps < 1000 else _DEFAULT_FPS)

    def stored_frames(self, start: float = 0.0) -> Iterator[tuple[float, np.ndarray]]:
        """See :class:`FrameSource`.

        Raises:
            VideoError: if the camera stops to show anything.
        """
        begin = clock.monotonic()
        yield 0.0, cv2.cvtColor(self._first, cv2.COLOR_BGR2RGB)
        while True:
            is_read, image = self._camera.read()
            if not is_read:
                raise VideoError(f"{self.name}: the camera does not show anything any more")
            yield clock.monotonic() - begin, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        """Free the camera."""
        self._camera.release()


def _open_camera(index: int) -> cv2.VideoCapture:
    # OpenCV would tell for every way of access that there is no such camera.
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(index)
    finally:
        cv2.utils.logging.setLogLevel(level)


def _exact_rate(fps: float) -> Fraction:
    """Return the rate as a fraction: 30000 / 1001 stays what it is as a float, too."""
    return Fraction(fps).limit_denominator(1001)
