"""What an uploaded file must be before anything is done with it."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from tubedet.data import VideoError
from tubedet.data.video.container import open_video_container, video_stream
from tubedet.data.video.sources import VideoFileSource
from tubedet.data.video.video_file import VideoFileReader
from tubedet.errors import UserError

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts"),
    *(".m2ts", ".flv", ".wmv", ".ogv"),
)
# A small file can unpack to frames that fill the memory.
_MAX_PIXELS = 4096 * 2304
_MAX_FRAMES_PER_SECOND = 120
_MAX_PIXELS_PER_SECOND = 60 * 2560 * 1440


class UploadError(UserError):
    """An uploaded file is not accepted. The message is for the user of the page."""


def check_upload(path: str | PathLike, *, max_megabytes: float, max_seconds: float) -> float:
    """Refuse files that are no video, or too much of one.

    Args:
        path: the file.
        max_megabytes: largest size of the file, in units of 2^20 bytes.
        max_seconds: longest duration.

    Returns:
        float: duration of the video, seconds.

    Raises:
        UploadError: if it is refused; the message says why and what would be accepted.
    """
    name, megabytes = Path(path).name, Path(path).stat().st_size / 2**20
    if megabytes > max_megabytes:
        raise UploadError(
            f"{name} has {megabytes:.3g} MB, and at most {max_megabytes:g} MB are accepted. "
            "Choose a shorter or smaller video."
        )
    max_frames = _MAX_FRAMES_PER_SECOND * (max_seconds + 1)
    try:
        with open_video_container(str(path), num_threads=1) as container:
            stream = video_stream(container)
            assert stream is not None  # without one it is not opened
            pixels = stream.codec_context.width * stream.codec_context.height
            num_frames, duration = _measured(container, stream, max_frames=max_frames)
        if pixels <= _MAX_PIXELS:
            with open_upload(path) as source:
                pixels = source.height * source.width
    except (av.error.FFmpegError, VideoError, ValueError) as error:
        raise UploadError(
            f"{name} cannot be read as a video. MP4, MOV, MKV, WebM, AVI and MPEG are accepted."
        ) from error
    rate, more = num_frames / duration, "more than " if num_frames >= max_frames else ""
    if pixels > _MAX_PIXELS:
        raise UploadError(
            f"{name} has frames of {pixels / 1e6:.2f} megapixels, and at most "
            f"{_MAX_PIXELS / 1e6:.2f} are accepted."
        )
    if duration > max_seconds:
        raise UploadError(
            f"{name} is {more}{duration:.0f} seconds long, and at most {max_seconds:g} seconds are "
            "accepted. Cut out the part that matters."
        )
    if num_frames >= max_frames or rate > _MAX_FRAMES_PER_SECOND:
        raise UploadError(
            f"{name} has {rate:.0f} frames per second, and at most {_MAX_FRAMES_PER_SECOND} are "
            "accepted. Save it at a usual rate, such as 30."
        )
    if rate * pixels > _MAX_PIXELS_PER_SECOND:
        raise UploadError(
            f"{name} has {rate:.0f} frames of {pixels / 1e6:.2f} megapixels per second, which is "
            "too much. Make it smaller, such as 1920x1080 at 30 frames per second."
        )
    return duration


def open_upload(path: str | PathLike) -> VideoFileSource:
    """Open an accepted file; frames that grow later on are not decoded.

    Args:
        path: the file.

    Raises:
        VideoError: if it cannot be read.
    """
    return VideoFileSource(VideoFileReader(path, max_pixels=_MAX_PIXELS))


def _measured(
    container: InputContainer, stream: VideoStream, *, max_frames: float
) -> tuple[int, float]:
    """Frames and seconds as the packets say; the file's header may say anything, or nothing."""
    times: list[int] = []
    for packet in container.demux(stream):
        time = packet.dts if packet.pts is None else packet.pts
        if time is not None:
            times.append(time)
        if len(times) >= max_frames:
            break
    if not times:
        raise ValueError("not a single frame")
    length = float((max(times) - min(times)) * stream.time_base + 1 / (stream.average_rate or 30))
    return len(times), length
