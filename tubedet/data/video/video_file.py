"""Reading the frames of a video file by time."""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from tubedet.data.clip_sampling import display_limits

from .container import MAX_PIXELS, VideoError, frame_pts
from .frame_decoder import FrameDecoder
from .orientation import frame_orientation
from .pyav_versions import to_rgb
from .requested_times import check_not_past_end, checked_times, numbered_indices
from .unseen_frames import MissedFrameError, UnseenFrames, states_own_times

# How far before the wanted time to look when a seek landed behind it: the first tries are cheap,
# the last one starts at the beginning of the file.
_SEEK_BACKOFF_SECONDS = (0.0, 2.0, 10.0, 60.0)
# A frame stands in for undecodable ones behind it for at most that long.
_MAX_DAMAGE_SECONDS = 1.0


class VideoFileReader(FrameDecoder):
    """A video file, decoded with PyAV and addressed by presentation time, never by frame count.

    The first frame is time 0, whatever its time stamp in the file. B-frames and variable frame
    rates are taken care of, and frames are turned and mirrored as the file says. Files whose frames
    cannot be found after a seek are decoded, or read, from their start. A reader belongs to the
    process which opened it.

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
        damage: what could not be decoded so far.
    """

    def __init__(
        self, path: str | os.PathLike, *, num_threads: int = 1, max_pixels: int = MAX_PIXELS
    ):
        super().__init__(os.fspath(path), num_threads=num_threads, max_pixels=max_pixels)
        try:
            self._leaves_frames_out = states_own_times(self._container, self._stream)
            self._read_head()
        except BaseException:
            self.close()
            raise
        # Kept, because PyAV sets up a new colour conversion for every frame otherwise; one for each
        # thread, because they are not to be shared.
        self._per_thread = threading.local()

    def _read_head(self) -> None:
        """Decode the first frame: its time is the origin, and it knows its orientation."""
        frames = self._decoded_frames()
        first = next(frames, None)
        if first is None:
            raise VideoError(f"{self.path}: the video stream holds no decodable frame")
        self._first_pts = frame_pts(first, self.path)
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
        self._head = itertools.chain((first,), frames)

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
        stored = self._stream.frames
        if self.duration is None:
            return stored or None
        shown = self.duration * self.fps
        # Mp4 counts what is stored, and its edit list may show less of that.
        return min(stored, max(1, math.ceil(shown))) if stored else round(shown)

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
        self._check_open()
        order = np.argsort(times, kind="stable")
        limits = display_limits(
            np.maximum(times[order], 0), tick=1 / self.fps if tick is None else tick
        )
        seconds_per_pts = float(self._stream.time_base)
        limits = (self._first_pts + limits / seconds_per_pts).tolist()
        return self._read_shown(limits, times[order], order)

    def read_numbered(
        self, number: int, offsets: Sequence[int] = (0,), *, min_short_side: int | None = None
    ) -> np.ndarray:
        """Frames by their place in the video, whatever its frame rate.

        Args:
            number: of a stored frame, from 1.
            offsets: (T,) how many frames each frame of the clip is behind that one; before the
                first and behind the last frame of the video that one is repeated.
            min_short_side: only for likeness to frame folders.

        Returns:
            uint8 array (T, H, W, 3), RGB.

        Raises:
            VideoError: if the video has no frame of that number, or one of the frames cannot be
                decoded.
        """
        del min_short_side
        index = self._numbered()
        found = numbered_indices(
            self.path, number, offsets, num_frames=len(index.pts), end=index.end
        )
        order = np.argsort(found, kind="stable")
        pts = index.pts[found[order]]
        times = (pts - self._first_pts) * float(self._stream.time_base)
        clip = self._read_shown(index.limits(found[order]).tolist(), times, order)
        for wanted, shown, place in zip(pts.tolist(), self._shown_pts, order):
            if wanted != shown:
                raise VideoError(
                    f"{self.path}: frame number {found[place] + 1} cannot be decoded; "
                    "mend or convert the video"
                )
        return clip

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
                        f"its first frame ({self.damage.num_lost} frames so far are damaged)"
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
        return float((frame_pts(frame, self.path) - self._first_pts) * self._stream.time_base)

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

    def _read_shown(self, limits: list[float], times: np.ndarray, slots: np.ndarray) -> np.ndarray:
        """Do :meth:`_read_until`, with all frames decoded if the file misled about them."""
        try:
            return self._read_until(limits, times, slots)
        except MissedFrameError:  # what the file says of durations is wrong
            self._leaves_frames_out = False
            return self._read_until(limits, times, slots)

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
        leave_out = unseen.leave_out if self._leaves_frames_out and self.seeks else None
        clip = np.empty((len(limits), self.height, self.width, 3), dtype=np.uint8)
        shown, shown_rgb, filled = None, None, 0
        self._shown_pts: list[int] = []
        for frame in self._decoded_frames(leave_out):
            pts = frame_pts(frame, self.path)
            while filled < len(limits) and pts >= limits[filled]:
                unseen.check_shown(shown and frame_pts(shown, self.path), limits[filled])
                if shown is None:
                    return None
                if shown_rgb is None:
                    shown_rgb = self.rgb(shown)
                self._check_damage(shown, times[filled])
                clip[slots[filled]] = shown_rgb
                self._shown_pts.append(frame_pts(shown, self.path))
                filled += 1
            if filled == len(limits):
                return clip
            shown, shown_rgb = frame, None
        unseen.check_shown(shown and frame_pts(shown, self.path), limits[-1])
        if shown is None:
            return None
        check_not_past_end(self.path, times, last_frame=self._seconds(shown), fps=self.fps)
        clip[slots[filled:]] = self.rgb(shown)
        self._shown_pts += [frame_pts(shown, self.path)] * (len(limits) - filled)
        return clip

    def _check_damage(self, shown: av.VideoFrame, time: float) -> None:
        age = time - self._seconds(shown)
        if self._damaged and age > _MAX_DAMAGE_SECONDS:
            raise VideoError(
                f"{self.path}: not decodable at {time:.3f} s after its first frame "
                f"(damaged; the last good frame is {age:.3f} s older)"
            )
