"""What an uploaded file must be before anything is done with it."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import av

from tubedet.data import VideoError
from tubedet.data.video.pyav_versions import open_for_reading
from tubedet.data.video.sources import open_frame_source
from tubedet.errors import UserError

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts"),
    *(".m2ts", ".flv", ".wmv", ".ogv"),
)
# Containers that hold all of a video themselves. Playlists, whatever their file name, could make
# FFmpeg open other files of this computer and addresses in its network.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg"
# A small file can unpack to frames that fill the memory.
_MAX_PIXELS = 4096 * 2304


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
    try:
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        with open_for_reading(str(path), options=options) as container:
            duration = _measured_duration(container)
        with open_frame_source(path) as source:
            pixels = source.height * source.width
    except (av.error.FFmpegError, VideoError, ValueError) as error:
        raise UploadError(
            f"{name} cannot be read as a video. MP4, MOV, MKV, WebM, AVI and MPEG are accepted."
        ) from error
    if pixels > _MAX_PIXELS:
        raise UploadError(
            f"{name} has frames of {pixels / 1e6:.2f} megapixels, and at most "
            f"{_MAX_PIXELS / 1e6:.2f} are accepted."
        )
    if duration > max_seconds:
        raise UploadError(
            f"{name} is {duration:.0f} seconds long, and at most {max_seconds:g} seconds are "
            "accepted. Cut out the part that matters."
        )
    return duration


def _measured_duration(container: av.container.InputContainer) -> float:
    """Return what the packets say, in seconds; the file's header may say anything, or nothing."""
    if not container.streams.video:
        raise ValueError("no video stream")
    stream = container.streams.video[0]
    times = [packet.dts if packet.pts is None else packet.pts for packet in container.demux(stream)]
    times = [time for time in times if time is not None]
    if not times:
        raise ValueError("not a single frame")
    return float((max(times) - min(times)) * stream.time_base + 1 / (stream.average_rate or 30))
