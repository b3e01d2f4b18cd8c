"""Reading the frames of a video by time, from a folder of frames or from a video file.

Both storage forms stand behind one call, ``reader.read(times)``, with times in seconds since the
first stored frame, and give the same frames for the same video: a time belongs to the last frame
which begins less than half a tick after it, and that is what ffmpeg's filter ``fps=30`` writes
into a frame folder. (The option ``-r 30`` does not, for other rates than 30.)
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import cv2
import numpy as np

from tubedet.data.clip_sampling import frame_indices, stored_times

from .container import MAX_PIXELS
from .frame_names import FRAME_EXTENSIONS, FrameGapError, sorted_frame_names
from .requested_times import check_not_past_end, checked_times, numbered_indices
from .video_file import VideoError, VideoFileReader

# Reduced decoding skips work in jpgs only; a png is decoded in full and shrunk afterwards.
_REDUCIBLE_EXTENSIONS = (".jpg", ".jpeg")
_REDUCED_READING = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    1: cv2.IMREAD_COLOR,
}
VIDEO_EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg")


def open_video(
    path: str | os.PathLike,
    *,
    folder_fps: float = 30.0,
    num_threads: int = 1,
    max_pixels: int = MAX_PIXELS,
) -> FrameFolderReader | VideoFileReader:
    """Open a frame folder, a video file or a single image.

    Args:
        path: folder with one image per frame, a video file, or an image, which is a folder of one
            frame.
        folder_fps: frame rate of images, which do not tell; unused for video files.
        num_threads: decoder threads of a video file; unused for folders.
        max_pixels: largest frame of a video file; unused for folders.

    Returns:
        A reader; close it, or use it as a context manager.

    Raises:
        VideoError: if nothing is there, or it cannot be read.
    """
    path = os.fspath(path)
    if "\0" in path:  # which the system refuses with a ValueError that names no file
        raise VideoError(f"{path!r}: no path has a NUL character; look at the video id")
    if os.path.isdir(path):
        return FrameFolderReader(path, fps=folder_fps)
    if path.lower().endswith(FRAME_EXTENSIONS) and os.path.isfile(path):
        return FrameFolderReader(os.path.dirname(path), fps=folder_fps, only=os.path.basename(path))
    return VideoFileReader(path, num_threads=num_threads, max_pixels=max_pixels)


def read_key_frame(reader: FrameFolderReader | VideoFileReader, record: dict) -> np.ndarray:
    """Read the frame that a dataset dict is about.

    Args:
        reader: its video.
        record: a dataset dict. With a ``frame_number`` it is that stored frame, whatever nominal
            rate ``timestamp`` was made with; otherwise the one at ``timestamp``, the first stored
            frame being at ``start_second``.

    Returns:
        uint8 array (H, W, 3), RGB.

    Raises:
        VideoError: if it cannot be read, or the video has no such frame.
    """
    if "frame_number" in record:
        return reader.read_numbered(record["frame_number"])[0]
    times = stored_times([record["timestamp"]], start_second=record["start_second"])
    return reader.read(times)[0]


class FrameFolderReader(AbstractContextManager):
    """Frames stored as one jpg or png file each, in the order of their numbers or names.

    The first one is time 0 whatever its number, as in SlowFast and TubeR.

    Args:
        path: the folder.
        fps: frame rate at which the frames were written.
        only: name of the one frame to read, whatever else is in the folder.

    Raises:
        VideoError: if the folder is missing or holds no frame, or if frames are missing from
            its middle.

    Attributes:
        path: the folder.
        fps: frame rate of the stored frames.
        num_frames: number of frames.
        height, width: size of the first frame, pixels.
    """

    def __init__(self, path: str | os.PathLike, *, fps: float = 30.0, only: str | None = None):
        self.path = os.fspath(path)
        self.fps = float(fps)
        try:
            if only is not None:
                self._names = [os.fsencode(only)]
            else:
                self._names = sorted_frame_names(self.path, os.stat(self.path).st_mtime_ns)
        except FrameGapError as error:
            raise VideoError(f"{self.path}: {error}") from error
        except OSError as error:
            raise VideoError(f"{self.path}: {error.strerror or error}") from error
        if len(self._names) == 0:
            endings = ", ".join(FRAME_EXTENSIONS)
            raise VideoError(f"{self.path}: the folder holds no frame (file ending in {endings})")
        self.num_frames = len(self._names)
        self.height, self.width = self._decode(0).shape[:2]

    @property
    def duration(self) -> float:
        """Length of the video, seconds."""
        return self.num_frames / self.fps

    def read(
        self, times: np.ndarray, *, tick: float | None = None, min_short_side: int | None = None
    ) -> np.ndarray:
        """Frames shown at the given times.

        Args:
            times: (T,) seconds since the first frame, in any order; times outside of the video
                take its first or last frame.
            tick: seconds between two frames of the sampling rate; None means ``1 / fps``.
            min_short_side: jpgs are decoded at 1/2, 1/4 or 1/8 of their size where both sides can
                be divided by that and the short one keeps so many pixels: several times faster
                where a resize to that or a larger side follows. None: the stored size.

        Returns:
            uint8 array (T, H, W, 3), RGB, of the stored size or 1/2, 1/4 or 1/8 of it.

        Raises:
            VideoError: if a frame cannot be read or has another size than the first one, or if
                all times lie before its start or behind its end.
            ValueError: if ``times`` is empty or not finite.
        """
        times = checked_times(self.path, times)
        last_frame = (self.num_frames - 1) / self.fps
        check_not_past_end(self.path, times, last_frame=last_frame, fps=self.fps)
        indices = frame_indices(times, fps=self.fps, num_stored=self.num_frames, tick=tick)
        return self._read_indices(indices, min_short_side)

    def count_frames(self) -> int:
        """Count the frames, which have the numbers from 1 on."""
        return self.num_frames

    def read_numbered(
        self, number: int, offsets: Sequence[int] = (0,), *, min_short_side: int | None = None
    ) -> np.ndarray:
        """Frames by their place in the folder.

        Args:
            number: of a stored frame, from 1.
            offsets: (T,) how many frames each frame of the clip is behind that one; before the
                first and behind the last frame of the folder that one is repeated.
            min_short_side: see :meth:`read`.

        Returns:
            uint8 array (T, H, W, 3), RGB, of the stored size or 1/2, 1/4 or 1/8 of it.

        Raises:
            VideoError: if the folder has no frame of that number, or a frame cannot be read or has
                another size than the first one.
        """
        indices = numbered_indices(self.path, number, offsets, num_frames=self.num_frames)
        return self._read_indices(indices, min_short_side)

    def _read_indices(self, indices: np.ndarray, min_short_side: int | None) -> np.ndarray:
        factor = self._reduction(min_short_side)
        size = self.height // factor, self.width // factor
        frames = np.empty((len(indices), *size, 3), dtype=np.uint8)
        slot_of: dict[int, int] = {}
        for slot, index in enumerate(indices.tolist()):
            if index in slot_of:
                frames[slot] = frames[slot_of[index]]
                continue
            slot_of[index] = slot
            image = self._decode(index, factor)
            if image.shape != frames.shape[1:]:
                image = self._decode(index)
                raise VideoError(
                    f"{os.path.join(self.path, self._name(index))}: frame of {image.shape[1]}x"
                    f"{image.shape[0]} pixels in a folder of {self.width}x{self.height} ones"
                )
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=frames[slot])
        return frames

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """All frames in order, as (seconds since the first frame, uint8 RGB (H, W, 3))."""
        for index in range(self.num_frames):
            yield index / self.fps, cv2.cvtColor(self._decode(index), cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        """Nothing is kept open; exists so that both readers are used in the same way."""

    def __exit__(self, *exc_info) -> None:
        self.close()

    def _name(self, index: int) -> str:
        return os.fsdecode(bytes(self._names[index]))

    def _reduction(self, min_short_side: int | None) -> int:
        """Return the largest factor by which frames may be reduced; 1 for none."""
        if min_short_side is None or not self._name(0).lower().endswith(_REDUCIBLE_EXTENSIONS):
            return 1
        return next(
            factor
            for factor in _REDUCED_READING
            if factor == 1
            # Divisible sides keep the aspect ratio, and so the size that a resize makes of it.
            or self.height % factor == self.width % factor == 0
            and min(self.height, self.width) >= factor * min_short_side
        )

    def _decode(self, index: int, factor: int = 1) -> np.ndarray:
        file_name = os.path.join(self.path, self._name(index))
        image = cv2.imread(file_name, _REDUCED_READING[factor])
        if image is None:
            raise VideoError(f"{file_name}: not a readable image (frame {index} of the folder)")
        if _is_cut_off(file_name):
            raise VideoError(f"{file_name}: the image is cut off (frame {index} of the folder)")
        return image


def _is_cut_off(file_name: str) -> bool:
    """Whether a jpg lacks its end, which OpenCV fills with grey without a word."""
    with open(file_name, "rb") as stream:
        content = stream.read()
    return content[:2] == b"\xff\xd8" and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")


class VideoReaderCache:
    """Keeps the most recently used readers open, a bounded number of them.

    Opening costs about as much as reading a short clip. Every process has its own readers: after a
    fork the inherited ones are left alone, because their file position and decoder threads belong
    to the parent, and a pickled cache arrives empty.

    Args:
        max_open: readers which stay open; the least recently used one is closed first.
        num_threads: decoder threads of each video file.
    """

    def __init__(self, max_open: int = 8, *, num_threads: int = 1):
        self.max_open = max_open
        self.num_threads = num_threads
        self._readers: OrderedDict[tuple, FrameFolderReader | VideoFileReader] = OrderedDict()
        self._owner = os.getpid()
        self._inherited: list = []

    def open(
        self, path: str | os.PathLike, *, folder_fps: float = 30.0
    ) -> FrameFolderReader | VideoFileReader:
        """Do the same as :func:`open_video`; the reader stays the cache's, do not close it."""
        if self._owner != os.getpid():
            # Freeing a decoder whose threads did not survive the fork could wait for ever.
            self._inherited.append(self._readers)
            self._readers, self._owner = OrderedDict(), os.getpid()
        key = (os.fspath(path), folder_fps)
        reader = self._readers.pop(key, None)
        if reader is None:
            reader = open_video(path, folder_fps=folder_fps, num_threads=self.num_threads)
        self._readers[key] = reader
        while len(self._readers) > self.max_open:
            self._readers.popitem(last=False)[1].close()
        return reader

    def close(self) -> None:
        """Close all readers which this process opened."""
        if self._owner == os.getpid():
            while self._readers:
                self._readers.popitem()[1].close()

    def __getstate__(self) -> dict:
        return {"max_open": self.max_open, "num_threads": self.num_threads}

    def __setstate__(self, state: dict) -> None:
        VideoReaderCache.__init__(self, **state)
