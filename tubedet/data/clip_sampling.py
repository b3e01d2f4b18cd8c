"""From the second of a key frame to the frames of its clip.

This is the only place that knows how frame rates, strides and the start offset of a stored video
turn into times and frame indices. Two clocks are used:

* the film's clock, in which annotations are written (AVA: key frames are the seconds 902 to 1798);
* the stored clock, which starts with 0 at the first stored frame (AVA: second 900 of the film).

Data sets which are annotated frame by frame number the stored frames from 1 instead.
"""

from __future__ import annotations

import numpy as np

# Containers round time stamps (Matroska and WebM: to 1 ms); frames are much further apart.
TIME_TOLERANCE = 1e-3


def clip_times(timestamp: float, *, num_frames: int, frame_stride: float, fps: float) -> np.ndarray:
    """Time of the frames of the clip around a key frame.

    Slot ``num_frames // 2`` holds the key frame, as in SlowFast and TubeR: 32 frames with stride 2
    at 30 frames per second reach from 1.07 s before to 1.0 s after it.

    Args:
        timestamp: time of the key frame, seconds (the result is on the same clock).
        num_frames: T, frames of the clip.
        frame_stride: distance of neighbouring frames, counted in frames of rate ``fps``.
        fps: frames per second in which the stride counts (AVA: 30).

    Returns:
        float64 array (T,), seconds; element ``T // 2`` equals ``timestamp`` exactly. Times may lie
        before the first or after the last stored frame.

    Raises:
        ValueError: if a number is not positive or the time stamp is not finite.
    """
    if num_frames < 1 or frame_stride <= 0 or fps <= 0:
        raise ValueError(
            "num_frames, frame_stride and fps must be positive, "
            f"got {num_frames}, {frame_stride} and {fps}"
        )
    if not np.isfinite(timestamp):
        raise ValueError(f"the time of a key frame must be finite, got {timestamp}")
    offsets = np.arange(num_frames) - num_frames // 2
    return timestamp + offsets * frame_stride / fps


def stored_times(times: np.ndarray, *, start_second: float) -> np.ndarray:
    """Move times from the film's clock to the stored clock (0 at the first stored frame).

    Args:
        times: (T,) seconds on the film's clock.
        start_second: time of the first stored frame on the film's clock (AVA: 900).

    Returns:
        float64 array (T,), seconds since the first stored frame.
    """
    return np.asarray(times, dtype=np.float64) - start_second


def display_limits(times: np.ndarray, *, tick: float) -> np.ndarray:
    """Time before which a frame must begin to be the one shown at the given times.

    A time belongs to the last frame which begins less than half a tick after it, as in ffmpeg's
    filter ``fps``; of two equally near frames it is the earlier one.

    Args:
        times: (T,) seconds.
        tick: seconds between two frames of the sampling rate.

    Returns:
        float64 array (T,), seconds on the same clock.
    """
    half_tick = tick / 2
    return np.asarray(times, dtype=np.float64) + half_tick - min(TIME_TOLERANCE, half_tick / 2)


def frame_indices(
    times: np.ndarray,
    *,
    fps: float,
    start_second: float = 0.0,
    num_stored: int,
    tick: float | None = None,
) -> np.ndarray:
    """Return indices of the stored frames which are shown at the given times.

    The rule is :func:`display_limits`. With frames stored at the sampling rate it gives the nearest
    one: second 902 of an AVA video (30 frames per second from second 900 on) is index 60, the file
    ``<id>_000061.jpg``. Each index is clamped on its own as in SlowFast, so that the key frame
    keeps its slot at the edges of a video.

    Args:
        times: (T,) seconds on the film's clock.
        fps: frames per second of the stored frames.
        start_second: time of the first stored frame on the film's clock.
        num_stored: n, number of stored frames.
        tick: seconds between two frames of the sampling rate; None means ``1 / fps``.

    Returns:
        int64 array (T,), 0-based, each in [0, n - 1].

    Raises:
        ValueError: if ``fps`` or ``num_stored`` is not positive.
    """
    if fps <= 0 or num_stored < 1:
        raise ValueError(f"fps and num_stored must be positive, got {fps} and {num_stored}")
    limits = display_limits(
        stored_times(times, start_second=start_second), tick=1 / fps if tick is None else tick
    )
    # Frame i begins at i / fps; the largest i with i / fps below the limit.
    indices = np.ceil(limits * fps).astype(np.int64) - 1
    return np.clip(indices, 0, num_stored - 1)
