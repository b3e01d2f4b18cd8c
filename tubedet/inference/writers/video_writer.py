"""Writing frames, one at a time, to a video file."""

from __future__ import annotations

import os
import tempfile
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from tubedet.errors import UserError
from tubedet.files.atomic_writing import PartialFile
from tubedet.files.full_disks import full_disk_told

from .audio_copy import AudioCopy

_TICKS_PER_SECOND = 10_000  # at least; time stamps are rounded to a tick
_BT709, _BT601 = 1, 6  # tags of colours, as H.264 numbers them


def check_video_suffix(path: str | os.PathLike) -> None:
    """Make sure that :class:`VideoWriter` can write a file of this name; nothing is written.

    Args:
        path: of the video.

    Raises:
        UserError: if no container that holds its codec has the suffix.
    """
    suffix = Path(path).suffix
    with tempfile.TemporaryDirectory() as folder:
        try:
            with av.open(os.path.join(folder, f"video{suffix}"), "w") as container:
                container.add_stream(_codec(), rate=1)
        except ValueError as error:
            raise UserError(
                f"{path}: videos are not written with the suffix {suffix!r}; use .mp4"
            ) from error


def _codec() -> str:
    return "libx264" if "libx264" in av.codecs_available else "mpeg4"


class VideoWriter(AbstractContextManager):
    """A video file (H.264 where PyAV has an encoder for it, else MPEG-4; yuv420p) of RGB frames.

    Colours are tagged: BT.709 in more than 576 rows or in 1280 columns and more, else BT.601, as
    players assume where they ignore tags.

    Frames are encoded as they come, so memory does not grow with the length of the video. They go
    to a :class:`~tubedet.files.atomic_writing.PartialFile`, which takes the wanted name when the
    writer is closed, and is removed when the ``with`` block ends by an exception.

    Example::

        with VideoWriter("out.mp4", fps=Fraction(30000, 1001)) as writer:
            for frame in frames:
                writer.write(frame)

    Args:
        path: the video to write; the suffix chooses the container (.mp4, .mkv, .avi, .mov).
            Missing folders are made.
        fps: frames per second, > 0; where frames come with times, about that many.
        size: (width, height) of all frames in pixels; None: those of the first frame. Where
            the codec wants even numbers, the last column or row is repeated once.
        sample_aspect_ratio: width of a pixel by its height, for players.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: if ``path`` exists and ``overwrite`` is False.
        ValueError: if ``fps`` is not positive or the container is unknown.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        fps: Fraction | float,
        size: tuple[int, int] | None = None,
        *,
        sample_aspect_ratio: Fraction | float = 1,
        overwrite: bool = False,
    ):
        self.path = Path(path)
        # 1001 keeps the rates of broadcasting exact and its multiples suit the clock of MPEG-4.
        self.fps = Fraction(fps).limit_denominator(1001)
        self.size = size
        self.num_frames = 0
        if self.fps <= 0:
            raise UserError(f"{self.path}: fps must be positive, got {fps}")
        if self.path.exists() and not overwrite:
            raise FileExistsError(f"{self.path} exists already; choose another name or remove it")
        check_video_suffix(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = PartialFile(self.path)
        try:
            self._container = av.open(os.fspath(self._partial.path), "w")
        except BaseException:
            self._partial.discard()
            raise
        codec = _codec()
        # Without B-frames, whose reordering makes the muxers state a wrong duration where frames
        # last differently long.
        x264_options = {"crf": "18", "preset": "veryfast", "bf": "0"}
        options = x264_options if codec == "libx264" else None
        self._stream = self._container.add_stream(codec, rate=self.fps, options=options)
        self._stream.pix_fmt = "yuv420p"
        self._sample_aspect_ratio = Fraction(sample_aspect_ratio)
        self._reformatter = VideoReformatter()
        self._ticks_per_frame = self.fps.denominator * -(-_TICKS_PER_SECOND // self.fps.numerator)
        if self.path.suffix.lower() == ".avi":  # knows no time stamps: frames are counted
            self._ticks_per_frame = 1
        self._tick = 1 / (self.fps * self._ticks_per_frame)
        self._audio: AudioCopy | None = None
        # The frame that was written last: how long it lasts is known when the next one comes.
        self._held: av.VideoFrame | None = None
        self._durations: dict[int, int] = {}  # of the frames inside of the encoder, by time stamp
        self._closed = False

    def copy_audio(self, source: str, *, start: float = 0.0, end: float | None = None) -> None:
        """Take the sound of another video along; to be called before the first frame.

        A sound which the container cannot hold is left out with a warning.

        Args:
            source: file or URL of that video.
            start: second of it, after its first frame, that is time 0 of this video.
            end: second of it at which the sound ends; None: copy all.
        """
        self._audio = AudioCopy(source, self._container, start=start, end=end)

    def write(self, frame_rgb: np.ndarray, time: float | None = None) -> None:
        """Append one frame.

        Args:
            frame_rgb: uint8 array (H, W, 3), RGB.
            time: seconds after the beginning of the video at which it appears; None: 1 / fps after
                the frame before. A frame not later than the one before appears one tick after it.

        Raises:
            ValueError: if it has another dtype, number of channels or size than the first frame.
        """
        self._check(frame_rgb)
        height, width = frame_rgb.shape[:2]
        if self.num_frames == 0:
            self._set_size(height, width)
        if width % 2 or height % 2:
            frame_rgb = np.pad(frame_rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_rgb), format="rgb24")
        frame = self._reformatter.reformat(frame, format="yuv420p", dst_colorspace=self._matrix)
        frame.time_base = self._tick
        previous = -1 if self._held is None else self._held.pts
        if time is not None:
            frame.pts = max(round(Fraction(time) / self._tick), previous + 1)
        else:
            frame.pts = 0 if self._held is None else previous + self._ticks_per_frame
        with full_disk_told(self.path):
            self._encode_held(until=frame.pts)
        self._held = frame
        self.num_frames += 1

    def close(self, end: float | None = None, *, cut_audio: bool = False) -> None:
        """Finish the file and give it its name.

        Args:
            end: seconds after the beginning at which the last frame disappears; None: 1 / fps after
                it appeared.
            cut_audio: whether the sound ends with the last frame, too.

        Raises:
            ValueError: if no frame was written; there is no such video.
        """
        if self._held is None:
            self.discard()
            raise UserError(f"{self.path}: not a single frame was written")
        until = self._held.pts + self._ticks_per_frame
        if end is not None:
            until = max(round(Fraction(end) / self._tick), self._held.pts + 1)
        with full_disk_told(self.path):
            self._encode_held(until=until)
            self._mux(None)
            if self._audio is not None:
                self._audio.copy_until(float(until * self._tick) if cut_audio else None)
            self._release()
            self._partial.complete()
        self._closed = True

    def discard(self) -> None:
        """Stop writing and removes what was written so far."""
        self._closed = True
        try:
            self._release()
        finally:
            self._partial.discard()

    def __exit__(self, exc_type, *exc_info) -> None:
        if self._closed:
            return
        if exc_type is not None:
            self.discard()
            return
        try:
            self.close()
        except BaseException:
            self.discard()
            raise

    def _check(self, frame_rgb: np.ndarray) -> None:
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

    def _set_size(self, height: int, width: int) -> None:
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        codec = self._stream.codec_context
        codec.time_base = self._tick
        codec.sample_aspect_ratio = self._sample_aspect_ratio
        is_hd = width >= 1280 or height > 576
        self._matrix = Colorspace.ITU709 if is_hd else Colorspace.ITU601
        codec.colorspace = _BT709 if is_hd else _BT601
        codec.color_primaries = codec.color_trc = _BT709  # those of screens, as in sRGB
        codec.color_range = ColorRange.MPEG
        if codec.name == "mpeg4":
            self._stream.bit_rate = int(0.2 * width * height * self.fps)

    def _encode_held(self, *, until: int) -> None:
        if self._held is None:
            return
        if self._audio is not None:
            self._audio.copy_until(float(self._held.pts * self._tick))
        self._durations[self._held.pts] = until - self._held.pts
        self._mux(self._held)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = self._durations.pop(packet.pts)
            self._container.mux(packet)

    def _release(self) -> None:
        if self._audio is not None:
            self._audio.close()
        self._container.close()
