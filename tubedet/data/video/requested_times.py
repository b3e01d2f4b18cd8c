"""Which times and numbers of frames a video can be asked for."""

from __future__ import annotations

import numpy as np

from tubedet.data.clip_sampling import TIME_TOLERANCE

from .container import VideoError


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


def numbered_indices(
    path: str, number: int, offsets: np.ndarray, *, num_frames: int, end: str = ""
) -> np.ndarray:
    """Return indices of the frames of a clip around the frame of a number.

    Args:
        path: the video, for the message.
        number: of a stored frame, from 1.
        offsets: (T,) int, how many frames each frame of the clip is behind that one.
        num_frames: N, number of stored frames.
        end: why there are no more, if that is not the end of the video.

    Returns:
        int64 array (T,), 0-based. Frames before the first or behind the last one are that one.

    Raises:
        VideoError: if the video has no frame of that number.
    """
    if not 1 <= number <= num_frames:
        raise VideoError(
            f"{path}: no frame number {number}: the video has {num_frames} frames"
            + (f"; {end}" if end else "")
        )
    return np.clip(number - 1 + np.asarray(offsets, dtype=np.int64), 0, num_frames - 1)
