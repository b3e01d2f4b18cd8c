"""Reading the frames of a video file by time."""

from __future__ import annotations

import gc
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from tubedet.data.clip_sampling import TIME_TOLERANCE, display_limits

from .container import MAX_PIXELS, VideoError, open_video_container, video_stream
from .orientation import frame_orientation
from .pyav_versions import to_rgb
from .unseen_frames import MissedFrameError, UnseenFrames, states_own_times

# How far before the wanted time to look when a seek landed behind it: the first tries are cheap,
# the last one starts at the beginning of the file.
_SEEK_BACKOFF_SECONDS = (0.0, 2.0, 10.0, 60.0)
# A frame stands in for undecodable ones behind it for at most that long.
_MAX_DAMAGE_SECONDS = 1.0


# Freeing a codec waits for its threads, and for ever in a forked process, which does not have them.
# So the garbage collector of a child (a loader worker) must not touch what was garbage before.
os.register_at_fork(before=gc.freeze, after_in_parent=gc.unfreeze)


class VideoFileReader(AbstractContextManager):
    """A video file, decoded with PyAV and addressed by presentation time, never by frame count.

    The first frame is time 0, whatever its time stamp in the file. B-frames and variable frame
    rates are taken care of, and frames are turned and mirrored as the file says. A reader belongs
    to the process which opened it.

    Args:
        path: the file, or a URL ("http://...", "rtsp://...") that FFmpeg opens.
        num_threads: decoder threads; loader workers are parallel already, so 1 is best there.
        max_pixels: larger frames are refused, and not decoded where they come later.

    Raises:
        VideoError: if the file is missing, empty, damaged, holds no video stream, or has larger
            frames.

    Attributes:
        path: the file or URL.
        max_pixels: of a frame.
        height, width: size of the upright frames, pixels.
        sample_aspect_ratio: width of an upright pixel by its height; 1 where the file does not say.
        fps: average frame rate as the file states it, float.
        rate: the same as a :class:`fractions.Fraction`.
    """

    def __init__(
        self, path: str | os.PathLike, *, num_threads: int = 1, max_pixels: int = MAX_PIXELS
    ):
        self.path = os.fspath(path)
        self.max_pixels = max_pixels
        self._num_threads = num_threads
        self._container = self._open()
        try:
            self._stream: VideoStream = video_stream(self._container)
            self._leaves_frames_out = states_own_times(self._container, self._stream)
            self._read_head()
        except BaseException:
            self.close()
            raise
        # Kept, because PyAV sets up a new colour conversion for every frame otherwise; one for each
        # thread, because they are not to be shared.
        self._per_thread = threading.local()

    def _open(self) -> InputContainer:
        return open_video_container(
            self.path, num_threads=self._num_threads, max_pixels=self.max_pixels
        )

    def _read_head(self) -> None:
        """Decode the first frame: its time is the origin, and it knows its orientation."""
        frames = self._decoded_frames()
        first = next(frames, None)
        if first is None:
            raise VideoError(f"{self.path}: the video stream holds no decodable frame")
        self._first_pts = _pts(first, self.path)
        self._orientation = frame_orientation(first, self.path)
        self._coded_size = (first.width, first.height)
        self.width, self.height = self._orientation.shown_sides(first.width, first.height)
        shape = Fraction(self._stream.sample_aspect_ratio or 1).as_integer_ratio()
        self.sample_aspect_ratio = Fraction(*self._orientation.shown_sides(*shape))
        rate = self._stream.average_rate or self._stream.guessed_rate
        if not rate:
            raise VideoError(f"{self.path}: the file states no frame rate")
        self.rate = Fraction(rate)  # PyAV 19 has a type of its own
        self.fps = float(self.rate)
        # Taken up by frames_from: a live stream does not show its first frame a second time.
        self._head: Iterator[av.VideoFrame] | None = itertools.chain((first,), frames)

    @property
    def duration(self) -> float | None:
        """Length in seconds as the file states it; None if it does not."""
        if self._stream.duration:
            return float(self._stream.duration * self._stream.time_base)
        if self._container.duration:
            # Matroska states the time of its end instead.
            first_frame = float(self._first_pts * self._stream.time_base)
            return self._container.duration / av.time_base - first_frame
        return None

    @property
    def num_frames(self) -> int | None:
        """Number of frames as stated by the file or estimated from its length; None if unknown.

        Good for progress bars; nothing else should rely on it.
        """
        if self._stream.frames:
            return self._stream.frames
        return None if self.duration is None else round(self.duration * self.fps)

    def read(
        self, times: np.ndarray, *, tick: float | None = None, min_short_side: int | None = None
    ) -> np.ndarray:
        """Frames shown at the given times.

        Decodes once, from the key frame at or before the earliest time to the latest time. Frames
        that are not shown and that no other frame is predicted from are left out.

        Args:
            times: (T,) seconds since the first frame, in any order; times outside of the video
                take its first or last decodable frame.
            tick: seconds between two frames of the sampling rate; None means ``1 / fps``.
            min_short_side: only for likeness to frame folders: video has no reduced decoding.

        Returns:
            uint8 array (T, H, W, 3), RGB.

        Raises:
            VideoError: if the file cannot be decoded at these times, or if all
                times lie before its start or behind its end.
            ValueError: if ``times`` is empty or not finite.
        """
        del min_short_side
        times = checked_times(self.path, times)
        if self._container is None:
            raise VideoError(f"{self.path}: the reader is closed")
        order = np.argsort(times, kind="stable")
        limits = display_limits(
            np.maximum(times[order], 0), tick=1 / self.fps if tick is None else tick
        )
        seconds_per_pts = float(self._stream.time_base)
        limits = (self._first_pts + limits / seconds_per_pts).tolist()
        try:
            return self._read_until(limits, times[order], order)
        except MissedFrameError:  # what the file says of durations is wrong
            self._leaves_frames_out = False
            return self._read_until(limits, times[order], order)

    def __iter__(self) -> Iterator[tuple[float, np.ndarray]]:
        """All frames in order, as (seconds since the first frame, uint8 RGB (H, W, 3)).

        Uses a handle of its own, so :meth:`read` may be called in between.
        """
        with self.reopened() as other:
            for time, frame in other.frames_from(0):
                yield time, other.rgb(frame)

    def reopened(self) -> VideoFileReader:
        """Open the same file with the same options once more."""
        return VideoFileReader(self.path, num_threads=self._num_threads, max_pixels=self.max_pixels)

    def frames_from(self, time: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Decode forward to the end, each frame once.

        Calling :meth:`read` in between disturbs it.

        Args:
            time: seconds since the first frame. Decoding begins at the key frame before it.

        Returns:
            Iterator over (seconds since the first frame, decoded frame for :meth:`rgb`), in order,
            from a frame before ``time``, or the first one of the video, on.

        Raises:
            VideoError: where more than a second of the video cannot be decoded, or after the last
                frame if the file ends within a frame.
        """
        shown = None
        for seconds, frame in self._timed_frames(time):
            if shown is not None:
                gap = seconds - shown
                if gap < -_MAX_DAMAGE_SECONDS:
                    raise VideoError(
                        f"{self.path}: its time stamps jump back from {shown:.3f} s to "
                        f"{seconds:.3f} s after its first frame; convert it to mp4 or mkv"
                    )
                if self._damaged and gap > _MAX_DAMAGE_SECONDS:
                    raise VideoError(
                        f"{self.path}: not decodable from {shown:.3f} s to {seconds:.3f} s after "
                        "its first frame (damaged)"
                    )
                seconds = max(seconds, shown)
            yield seconds, frame
            shown = seconds
        if self._cut_off:
            raise VideoError(
                f"{self.path}: the file is cut off {shown:.3f} s after its first frame"
            )

    def _timed_frames(self, time: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Return decoded frames from one before ``time`` on, with seconds since the first frame."""
        frames = self._head
        if frames is None or time > 0:
            frames = self._frames_after_seek(time)
        self._head = None
        for frame in frames:
            yield self._seconds(frame), frame

    def _frames_after_seek(self, time: float) -> Iterator[av.VideoFrame]:
        """Decode from the key frame before ``time``, or from the very start, on."""
        seconds_per_pts = float(self._stream.time_base)
        for backoff in (*(_SEEK_BACKOFF_SECONDS if time > 0 else ()), None):
            pts = self._first_pts + (time - (backoff or 0)) / seconds_per_pts
            if not self._seek(pts, rewind=backoff is None):
                continue
            frames = self._decoded_frames()
            first = next(frames, None)
            if first is not None and (self._seconds(first) < time or backoff is None):
                return itertools.chain((first,), frames)
        raise VideoError(f"{self.path}: not decodable at {time:.3f} s after its first frame")

    def _seconds(self, frame: av.VideoFrame) -> float:
        return float((_pts(frame, self.path) - self._first_pts) * self._stream.time_base)

    def rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """Return a decoded frame as an upright RGB image; may be called in any thread.

        Args:
            frame: from :meth:`frames_from`.

        Returns:
            uint8 array (H, W, 3).

        Raises:
            VideoError: if there is no conversion of its colours.
        """
        reformatter = self._per_thread.__dict__.setdefault("reformatter", VideoReformatter())
        width, height = self._coded_size
        try:
            image = to_rgb(reformatter, frame, width=width, height=height)
        except OSError as error:
            kind = f"{frame.format.name}, colour space {frame.colorspace}"
            raise VideoError(f"{self.path}: its colours cannot be converted ({kind})") from error
        return self._orientation.upright(image)

    def close(self) -> None:
        """Close the file; the reader cannot be used afterwards."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def __exit__(self, *exc_info) -> None:
        self.close()

    def _seek(self, pts: float, *, rewind: bool) -> bool:
        """Move to the key frame at or before ``pts``, or to the very start; False if refused."""
        self._head = None
        if rewind:  # a file opened anew also serves the formats which cannot seek
            self._container.close()
            self._container = self._open()
            self._stream = video_stream(self._container)
            return True
        try:
            self._container.seek(max(int(pts), self._first_pts), stream=self._stream)
        except (av.error.FFmpegError, OverflowError):  # the latter: beyond what 64 bits count
            return False
        return True

    def _decoded_frames(
        self, leave_out: Callable[[av.Packet], bool] | None = None
    ) -> Iterator[av.VideoFrame]:
        """Frames from the current position on; undecodable packets are left out.

        So are frames of packets for which ``leave_out`` is true, if no other frame needs them.
        ``self._damaged`` tells whether packets were left out since the last frame, and
        ``self._cut_off`` whether the file ended within a packet.
        """
        self._damaged = self._cut_off = False
        packets = self._container.demux(self._stream)
        decoder = self._stream.codec_context
        decoder.skip_frame = "DEFAULT"
        while True:
            try:
                packet = next(packets, None)
                if packet is not None and packet.size:
                    self._cut_off = packet.is_corrupt
                    if leave_out is not None:
                        decoder.skip_frame = "NONREF" if leave_out(packet) else "DEFAULT"
                frames = self._stream.decode(packet)
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self._damaged = True
                continue
            for frame in frames:
                yield frame
                self._damaged = False
            if packet is None:
                return

    def _read_until(self, limits: list[float], times: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Seek, decode forward and fill the slots.

        Args:
            limits: T ascending pts limits; the last frame below a limit is shown there.
            times: (T,) the ascending seconds which belong to them, for messages.
            slots: (T,) where each of them stands in the result.
        """
        seconds_per_pts = float(self._stream.time_base)
        for backoff in (*_SEEK_BACKOFF_SECONDS, None):
            if not self._seek(limits[0] - (backoff or 0) / seconds_per_pts, rewind=backoff is None):
                continue
            frames = self._decode_until(limits, times, slots)
            if frames is not None:
                return frames
        raise VideoError(f"{self.path}: not decodable at {times[0]:.3f} s after its first frame")

    def _decode_until(
        self, limits: list[float], times: np.ndarray, slots: np.ndarray
    ) -> np.ndarray | None:
        """Decode forward and fill the slots; None if the first frame already came too late."""
        unseen = UnseenFrames(limits)
        leave_out = unseen.leave_out if self._leaves_frames_out else None
        clip = np.empty((len(limits), self.height, self.width, 3), dtype=np.uint8)
        shown, shown_rgb, filled = None, None, 0
        for frame in self._decoded_frames(leave_out):
            pts = _pts(frame, self.path)
            while filled < len(limits) and pts >= limits[filled]:
                unseen.check_shown(shown and _pts(shown, self.path), limits[filled])
                if shown is None:
                    return None
                if shown_rgb is None:
                    shown_rgb = self.rgb(shown)
                self._check_damage(shown, times[filled])
                clip[slots[filled]] = shown_rgb
                filled += 1
            if filled == len(limits):
                return clip
            shown, shown_rgb = frame, None
        unseen.check_shown(shown and _pts(shown, self.path), limits[-1])
        if shown is None:
            return None
        check_not_past_end(self.path, times, last_frame=self._seconds(shown), fps=self.fps)
        clip[slots[filled:]] = self.rgb(shown)
        return clip

    def _check_damage(self, shown: av.VideoFrame, time: float) -> None:
        age = time - self._seconds(shown)
        if self._damaged and age > _MAX_DAMAGE_SECONDS:
            raise VideoError(
                f"{self.path}: not decodable at {time:.3f} s after its first frame "
                f"(damaged; the last good frame is {age:.3f} s older)"
            )


def checked_times(path: str, times: np.ndarray) -> np.ndarray:
    """Return the times as a float64 array (T,).

    Args:
        path: the video, for the message.
        times: (T,) seconds since its first frame.

    Raises:
        ValueError: if there is none, or one is not finite.
        VideoError: if all of them lie before the first frame.
    """
    times = np.asarray(times, dtype=np.float64)
    if times.ndim != 1 or len(times) == 0 or not np.isfinite(times).all():
        raise ValueError(f"times must be a non-empty list of finite seconds, got {times}")
    if times.max() < -TIME_TOLERANCE:
        raise VideoError(f"{path}: no frame before the first one: asked for {times.max():.3f} s")
    return times


def check_not_past_end(path: str, times: np.ndarray, *, last_frame: float, fps: float) -> None:
    """Refuse a clip of nothing but copies of the last frame.

    Args:
        path: the video, for the message.
        times: (T,) seconds since the first frame.
        last_frame: time of the last frame, seconds since the first one.
        fps: frame rate.

    Raises:
        VideoError: if all times lie behind the end of the video.
    """
    end = last_frame + 1 / fps
    if times.min() > end + TIME_TOLERANCE:
        raise VideoError(
            f"{path}: no frame from {times.min():.3f} s on: the video is {end:.3f} s long"
        )


def _pts(frame: av.VideoFrame, path: str) -> int:
    """Presentation time of a frame; AVI knows only the order of decoding for some frames."""
    pts = frame.pts if frame.pts is not None else frame.dts
    if pts is None:
        raise VideoError(f"{path}: its frames carry no time stamps; remux it to mp4 or mkv")
    return pts
