"""The clips around key frames at equal distances, cut from frames that come one after another."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tubedet.data.clip_sampling import TIME_TOLERANCE, display_limits
from tubedet.errors import UserError

from .clip_window import ClipWindow

# start, end and the multiples of a distance are sums of rounded numbers.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class KeyFrameClip:
    """The clip around one key frame.

    Attributes:
        time: of the key frame, seconds since the first frame of the video.
        clip: array (T, H, W, 3), the key frame in slot ``T // 2`` unless ``frame_shift`` moves it.
        key_frame: what :meth:`KeyFrameClips.add` was given to keep for the key frame.
    """

    time: float
    clip: np.ndarray
    key_frame: Any


class KeyFrameClips:
    """Cuts the clips of one pass over a video, or over a part of it.

    Key frames are those multiples of ``every`` within the part which are the last one at or before
    a frame, or the first one after it: where no frame begins for longer than that, there is nothing
    to detect. A part which lies between two multiples has its first frame as the only key frame.

    Frames of the part's surroundings belong to the clips at its edges; hand them in, too.

    Args:
        num_frames: T, frames of a clip.
        frame_stride: distance of neighbouring frames, counted in frames of rate ``fps``.
        fps: frames per second in which the stride counts.
        frame_shift: frames, counted likewise, by which the clip is late.
        every: seconds between key frames.
        start, end: the part: seconds since the first frame, the end excluded; None: the
            end of the video.

    Raises:
        UserError: if ``every`` is not positive, or ``start`` and ``end`` are not ascending.

    Attributes:
        start, end: the part, seconds; ``end`` is infinite if it ends with the video.
        tolerance: seconds by which the time stamp of a frame may miss a multiple which it is at.
    """

    def __init__(
        self,
        *,
        num_frames: int,
        frame_stride: float,
        fps: float,
        every: float,
        frame_shift: float = 0,
        start: float = 0.0,
        end: float | None = None,
    ):
        if not (every > 0 and math.isfinite(every)):
            raise UserError(f"every must be a positive number of seconds, got {every}")
        if not (start >= 0 and math.isfinite(start)):
            raise UserError(f"start must be a number of seconds from 0 on, got {start}")
        if end is not None and not end > start:
            raise UserError(f"end must be later than start ({start} s), got {end}")
        self.start, self.end = start, math.inf if end is None else end
        self._every = every
        self.tolerance = min(TIME_TOLERANCE, every / 4)
        self._window = ClipWindow(
            num_frames=num_frames, frame_stride=frame_stride, frame_shift=frame_shift, fps=fps
        )
        # Times of the key frames whose clips are not complete yet, and number of the last multiple.
        self._pending: deque[float] = deque()
        self._last_multiple = -1
        # The first frame of the part, for the case that no multiple follows.
        self._spare_time: float | None = None
        self._spare: KeyFrameClip | None = None
        self._any_clip = self._is_over = False
        self._last_time = -math.inf
        # What is kept of frames that a pending key frame may show.
        self._kept: deque[tuple[float, Any]] = deque()

    @property
    def first_needed(self) -> float:
        """Seconds: of all frames before it, only the last one has to be handed in."""
        return min(self.start, self._window.first_limit(self.start))

    @property
    def is_complete(self) -> bool:
        """Whether no further frame is needed: all clips of the part are cut."""
        return self._is_over and not self._pending

    def contains(self, time: float) -> bool:
        """Whether a frame belongs to the part itself.

        Args:
            time: seconds since the first frame of the video.
        """
        return self.start <= time < self.end

    def add(self, time: float, image: np.ndarray, keep: Any = None) -> list[KeyFrameClip]:
        """Take the next frame.

        Args:
            time: seconds since the first frame of the video.
            image: array (H, W, 3) for the clips; kept as it is, not copied.
            keep: anything; it is held only if this may be a key frame, and handed back with it.

        Returns:
            The clips which are complete now, without that frame.
        """
        if time >= self.end:
            self._is_over = True
        clips = []
        while self._pending and not self._window.needs(time, key_time=self._pending[0]):
            clips += self._cut()
        if self.contains(time):
            self._schedule(time)
        self._keep(time, keep)
        if self._is_left_out(self._last_time, time):
            self._window.forget_last()
        self._window.append(time, image)
        self._window.forget_before(self._pending[0] if self._pending else max(time, self.start))
        self._last_time = time
        return clips

    def finish(self) -> Iterator[KeyFrameClip]:
        """Return the rest of the clips after the last frame, behind which is no key frame."""
        while self._pending:
            if self._is_over or self._pending[0] <= self._last_time + self.tolerance:
                yield from self._cut()
            else:
                self._pending.clear()
        if not self._any_clip and self._spare is not None:
            yield self._spare

    def _schedule(self, time: float) -> None:
        is_first = self._last_multiple < 0
        multiple = math.floor((time + self.tolerance) / self._every)
        for number in (multiple, multiple + 1):
            key_time = number * self._every
            if number > self._last_multiple and key_time >= self.start - _ROUNDING:
                if is_first and number > multiple:
                    self._spare_time = time
                    self._pending.append(time)
                is_first = False
                self._last_multiple = number
                if key_time < self.end - _ROUNDING:
                    self._pending.append(key_time)

    def _cut(self) -> list[KeyFrameClip]:
        key_time = self._pending.popleft()
        limit = self._limit(key_time)
        while len(self._kept) > 1 and self._kept[1][0] < limit:
            self._kept.popleft()
        clip = KeyFrameClip(key_time, self._window.clip(key_time), self._kept[0][1])
        if key_time == self._spare_time:
            self._spare = clip
            return []
        self._any_clip, self._spare = True, None
        return [clip]

    def _keep(self, time: float, keep: Any) -> None:
        """Let the next frame replace the last one, unless a key frame shows that."""
        if self._kept:
            last = self._kept[-1][0]
            if not any(last < self._limit(key_time) <= time for key_time in self._pending):
                self._kept.pop()
        self._kept.append((time, keep))

    def _is_left_out(self, begin: float, end: float) -> bool:
        """Whether no clip shows a frame, as most frames of a video of a much higher rate."""
        is_dense = end - begin <= 0.5 / self._window.fps
        if not is_dense or len(self._window) < 2 or self._last_multiple < 0:
            return False  # until the part begins, its first key time is not known
        upcoming = (number * self._every for number in itertools.count(self._last_multiple + 1))
        reached = itertools.takewhile(lambda t: self._window.first_limit(t) <= end, upcoming)
        return not any(
            self._window.is_shown(begin, end, key_time=key_time)
            for key_time in (*self._pending, *reached)
        )

    def _limit(self, key_time: float) -> float:
        return float(display_limits(key_time, tick=1 / self._window.fps))
