"""Reading the frames of a video by time, from a folder of frames or from a video file.

Both storage forms stand behind one call, ``reader.read(times)``, with times in seconds since the
first stored frame, and give the same frames for the same video: a time belongs to the last frame
which begins less than half a tick after it, and that is what ``ffmpeg -r 30`` writes into a frame
folder.
"""

from __future__ import annotations

import functools
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager

import cv2
import numpy as np

from .clip_sampling import frame_indices
from .video_file import VideoError, VideoFileReader, check_not_past_end, checked_times

FRAME_EXTENSIONS = (".jpg", ".jpeg", ".png")
VIDEO_EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi")


def open_video(
    path: str | os.PathLike, *, folder_fps: float = 30.0, num_threads: int = 1
) -> FrameFolderReader | VideoFileReader:
    """Opens a frame folder or a video file.

    Args:
        path: folder with one image per frame, or a video file.
        folder_fps: frame rate of a frame folder (images do not tell); unused for files.
        num_threads: decoder threads of a video file; unused for folders.

    Returns:
        A reader; close it, or use it as a context manager.

    Raises:
        VideoError: if nothing is there, or it cannot be read.
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        return FrameFolderReader(path, fps=folder_fps)
    return VideoFileReader(path, num_threads=num_threads)


class FrameFolderReader(AbstractContextManager):
    """Frames stored as one jpg or png file each, in the order of their sorted names.

    The names themselves carry no meaning: the first one is time 0, as in SlowFast and TubeR.

    Attributes:
        path: the folder.
        fps: frame rate of the stored frames.
        num_frames: number of frames.
        height, width: size of the first frame, pixels.
    """

    def __init__(self, path: str | os.PathLike, *, fps: float = 30.0):
        """
        Args:
            path: the folder.
            fps: frame rate at which the frames were written.

        Raises:
            VideoError: if the folder is missing or holds no frame.
        """
        self.path = os.fspath(path)
        self.fps = float(fps)
        try:
            self._names = _sorted_frame_names(self.path, os.stat(self.path).st_mtime_ns)
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

    def read(self, times: np.ndarray, *, tick: float | None = None) -> np.ndarray:
        """Frames shown at the given times.

        Args:
            times: (T,) seconds since the first frame, in any order; times outside of the video
                take its first or last frame.
            tick: seconds between two frames of the sampling rate; None means ``1 / fps``.

        Returns:
            uint8 array (T, H, W, 3), RGB.

        Raises:
            VideoError: if a frame cannot be read or has another size than the first one, or if
                all times lie before its start or behind its end.
            ValueError: if ``times`` is empty or not finite.
        """
        times = checked_times(self.path, times)
        last_frame = (self.num_frames - 1) / self.fps
        check_not_past_end(self.path, times, last_frame=last_frame, fps=self.fps)
        indices = frame_indices(times, fps=self.fps, num_stored=self.num_frames, tick=tick)
        frames = np.empty((len(times), self.height, self.width, 3), dtype=np.uint8)
        slot_of: dict[int, int] = {}
        for slot, index in enumerate(indices.tolist()):
            if index in slot_of:
                frames[slot] = frames[slot_of[index]]
                continue
            slot_of[index] = slot
            image = self._decode(index)
            if image.shape != frames.shape[1:]:
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

    def _decode(self, index: int) -> np.ndarray:
        file_name = os.path.join(self.path, self._name(index))
        image = cv2.imread(file_name, cv2.IMREAD_COLOR)
        if image is None:
            raise VideoError(f"{file_name}: not a readable image (frame {index} of the folder)")
        return image


class VideoReaderCache:
    """Keeps the most recently used readers open, a bounded number of them.

    Opening costs about as much as reading a short clip. Every process has its own readers: after a
    fork the inherited ones are left alone, because their file position and decoder threads belong
    to the parent, and a pickled cache arrives empty.
    """

    def __init__(self, max_open: int = 8, *, num_threads: int = 1):
        """
        Args:
            max_open: readers which stay open; the least recently used one is closed first.
            num_threads: decoder threads of each video file.
        """
        self.max_open = max_open
        self.num_threads = num_threads
        self._readers: OrderedDict[tuple, FrameFolderReader | VideoFileReader] = OrderedDict()
        self._owner = os.getpid()
        self._inherited: list = []

    def open(
        self, path: str | os.PathLike, *, folder_fps: float = 30.0
    ) -> FrameFolderReader | VideoFileReader:
        """Same as :func:`open_video`; the reader stays the cache's, do not close it."""
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
        """Closes all readers which this process opened."""
        if self._owner == os.getpid():
            while self._readers:
                self._readers.popitem()[1].close()

    def __getstate__(self) -> dict:
        return {"max_open": self.max_open, "num_threads": self.num_threads}

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)


@functools.lru_cache(maxsize=256)
def _sorted_frame_names(folder: str, modified_ns: int) -> np.ndarray:
    """Sorted frame names of a folder as a bytes array (27,000 names of AVA: 0.6 MB).

    Args:
        folder: the folder.
        modified_ns: its time of modification; part of the key, so that a folder which was
            changed is listed again.
    """
    del modified_ns
    with os.scandir(os.fsencode(folder)) as entries:
        names = [entry.name for entry in entries]
    extensions = tuple(extension.encode() for extension in FRAME_EXTENSIONS)
    frames = (n for n in names if n.lower().endswith(extensions) and not n.startswith(b"."))
    return np.array(sorted(frames), dtype=np.bytes_)
