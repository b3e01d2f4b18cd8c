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


def clip_spacing(
    *, num_frames: int, frame_stride: int, frame_shift: int = 0, span: int = 0
) -> tuple[float, float]:
    """Turn the numbers of ``INPUT.CLIP`` into the stride and the shift of :func:`clip_offsets`.

    Args:
        num_frames: T, frames of a clip.
        frame_stride: distance of neighbouring frames.
        frame_shift: frames by which the clip is late.
        span: 0, or the frames of which the clip takes T at equal distances, each from the middle of
            its share; ``frame_stride`` then does not count.

    Returns:
        distance of neighbouring frames, and frames by which the clip is late.
    """
    if not span:
        return frame_stride, frame_shift
    stride = span / num_frames
    # Slot 0 is in the middle of the first share of a span whose middle is the key frame.
    return stride, frame_shift + (num_frames // 2 + 0.5) * stride - span // 2


def clip_offsets(num_frames: int, *, frame_stride: float, frame_shift: float = 0) -> np.ndarray:
    """Distances of the frames of a clip from its key frame.

    Without a shift slot ``num_frames // 2`` holds the key frame, as in SlowFast and TubeR. Released
    video ViTs saw other clips: 16 frames from -31 to 29 (VideoMAE-Action-Detection: stride 4,
    shift 1), and 8 from -29 to 27 (UMT: stride 8, shift 3).

    Args:
        num_frames: T, frames of the clip.
        frame_stride: distance of neighbouring frames; where it is no whole number, the
            offsets are rounded down.
        frame_shift: frames by which the clip is late.

    Returns:
        int64 array (T,), ascending, in frames.

    Raises:
        ValueError: if a number is not positive, or the shift is not finite.
    """
    if num_frames < 1 or not frame_stride > 0 or not np.isfinite(frame_shift):
        raise ValueError(
            "num_frames and frame_stride must be positive and frame_shift finite, "
            f"got {num_frames}, {frame_stride} and {frame_shift}"
        )
    slots = np.arange(num_frames) - num_frames // 2
    # A span that its frames do not divide gives numbers that miss a whole one by a rounding.
    return np.floor(slots * frame_stride + frame_shift + 1e-9).astype(np.int64)


def clip_times(
    timestamp: float,
    *,
    num_frames: int,
    frame_stride: float,
    fps: float,
    frame_shift: float = 0,
) -> np.ndarray:
    """Time of the frames of the clip around a key frame.

    32 frames with stride 2 at 30 frames per second reach from 1.07 s before to 1.0 s after it, and
    element ``T // 2`` equals ``timestamp`` exactly; see :func:`clip_offsets` for other clips.

    Args:
        timestamp: time of the key frame, seconds (the result is on the same clock).
        num_frames: T, frames of the clip.
        frame_stride: distance of neighbouring frames, counted in frames of rate ``fps``.
        fps: frames per second in which stride and shift count (AVA: 30).
        frame_shift: frames by which the clip is late.

    Returns:
        float64 array (T,), seconds, ascending. Times may lie before the first or after the last
        stored frame.

    Raises:
        ValueError: if a number is not positive or the time stamp is not finite.
    """
    if not fps > 0:
        raise ValueError(f"fps must be positive, got {fps}")
    if not np.isfinite(timestamp):
        raise ValueError(f"the time of a key frame must be finite, got {timestamp}")
    offsets = clip_offsets(num_frames, frame_stride=frame_stride, frame_shift=frame_shift)
    return timestamp + offsets / fps


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
