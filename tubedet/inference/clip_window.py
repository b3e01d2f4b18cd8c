"""Clips of a video that is decoded from front to end, in bounded memory."""

from __future__ import annotations

from collections import deque

import numpy as np

from tubedet.data.clip_sampling import clip_times, display_limits


class ClipWindow:
    """The last frames of a video that is being decoded, as many as a clip needs.

    Feed it every frame in order and ask it for clips in the order of their key frames. A clip holds
    the frames which a :class:`~tubedet.data.video.video_file.VideoFileReader` reads for it.

    Args:
        num_frames: T, frames of a clip.
        frame_stride: distance of neighbouring frames, counted in frames of rate ``fps``.
        fps: frames per second in which the stride counts.
        frame_shift: frames, counted likewise, by which the clip is late.
    """

    def __init__(self, *, num_frames: int, frame_stride: float, fps: float, frame_shift: float = 0):
        self.num_frames = num_frames
        self.frame_stride = frame_stride
        self.frame_shift = frame_shift
        self.fps = fps
        self._frames: deque[tuple[float, np.ndarray]] = deque()

    def __len__(self) -> int:
        """Return the number of frames that are kept."""
        return len(self._frames)

    def append(self, time: float, frame: np.ndarray) -> None:
        """Take the next frame.

        Args:
            time: seconds since the first frame of the video.
            frame: array (H, W, 3); kept as it is, not copied.
        """
        self._frames.append((time, frame))

    def needs(self, time: float, *, key_time: float) -> bool:
        """Whether a frame that begins at ``time``, or a later one, may belong to a clip.

        Args:
            time: of the next frame, seconds since the first one.
            key_time: of the key frame, seconds on the same clock.
        """
        return time < self._limits(key_time)[-1]

    def first_limit(self, key_time: float) -> float:
        """Return the time before which the first frame of a clip begins.

        Args:
            key_time: of the key frame, seconds since the first frame of the video.
        """
        return float(self._limits(key_time)[0])

    def clip(self, key_time: float) -> np.ndarray:
        """Return the clip around a key frame, made of the frames so far.

        Slots before the first frame or after the last one repeat that one.

        Args:
            key_time: time of the key frame, seconds since the first frame of the video.

        Returns:
            array (T, H, W, 3), the key frame in slot ``T // 2`` unless ``frame_shift`` moves it.
        """
        begins = [time for time, _ in self._frames]
        # In each slot the last frame that begins before the slot's limit.
        indices = np.searchsorted(begins, self._limits(key_time), side="left") - 1
        return np.stack([self._frames[index][1] for index in indices.clip(min=0).tolist()])

    def is_shown(self, begin: float, end: float, *, key_time: float) -> bool:
        """Whether a clip shows the frame that begins at one time, before the next one begins.

        Args:
            begin: of the frame, seconds since the first one.
            end: when the next frame begins.
            key_time: of the clip's key frame, seconds on the same clock.
        """
        limits = self._limits(key_time)
        return bool(((begin < limits) & (limits <= end)).any())

    def forget_last(self) -> None:
        """Drop the last frame, which no clip shows."""
        self._frames.pop()

    def forget_before(self, key_time: float) -> None:
        """Drop the frames that neither the clip of this key frame nor a later one shows."""
        first_limit = self.first_limit(key_time)
        while len(self._frames) > 1 and self._frames[1][0] < first_limit:
            self._frames.popleft()

    def _limits(self, key_time: float) -> np.ndarray:
        times = clip_times(
            key_time,
            num_frames=self.num_frames,
            frame_stride=self.frame_stride,
            frame_shift=self.frame_shift,
            fps=self.fps,
        )
        return display_limits(np.maximum(times, 0), tick=1 / self.fps)
