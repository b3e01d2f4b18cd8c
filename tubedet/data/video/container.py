"""Opening what FFmpeg takes for a video, with a clear word about everything else."""

from __future__ import annotations

import os
from collections.abc import Iterator

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from tubedet.errors import UserError
from tubedet.files.urls import is_url

from .accepted_media import MAX_STREAMS, file_options, url_options
from .pyav_versions import open_for_reading

_NETWORK_TIMEOUT_SECONDS = 20.0
# 8192x8192: a small file can unpack to frames that fill the memory.
MAX_PIXELS = 1 << 26
_PADDING_PIXELS = 1 << 20


class VideoError(UserError, OSError):
    """A video cannot be read. The message names the file and what is wrong with it."""


def open_video_container(
    path: str, *, num_threads: int, max_pixels: int = MAX_PIXELS
) -> InputContainer:
    """Open a file or URL that holds a video stream.

    Args:
        path: the file, or a URL.
        num_threads: decoder threads of the video stream.
        max_pixels: largest frame; one that is larger cannot be decoded.

    Raises:
        VideoError: if it is missing, empty, no video, silent for 20 seconds, or has larger frames.
        UserError: if it is an address of something else than a network stream.
    """
    try:
        container = _open(path)
    except (av.error.FFmpegError, OSError) as error:
        if isinstance(error, VideoError):
            raise
        reason = error.strerror or error
        if isinstance(error, av.error.ArgumentError):
            reason = "no container that holds all of a video itself"
        if isinstance(error, av.error.ExitError):
            reason = f"no answer for {_NETWORK_TIMEOUT_SECONDS:g} seconds"
        raise VideoError(f"{path}: cannot be opened as a video ({reason})") from error
    stream, file_format = video_stream(container), container.format.name
    num_streams = len(container.streams)
    if stream is None:
        container.close()
        among = f" in its first {num_streams} streams" if num_streams >= MAX_STREAMS else ""
        raise VideoError(f"{path}: the file holds no video stream{among}")
    if stream.codec_context is None:
        container.close()
        raise VideoError(f"{path}: there is no decoder for its video; convert it to mp4")
    if file_format.endswith("_pipe") or file_format == "image2":
        container.close()
        raise VideoError(f"{path}: the file is a still image ({file_format}), no video")
    codec = stream.codec_context
    if codec.width * codec.height > max_pixels:
        container.close()
        raise VideoError(
            f"{path}: frames of {codec.width}x{codec.height} pixels, and at most {max_pixels:,} "
            "pixels are accepted"
        )
    # A stream may change the size of its frames: the decoder refuses before it takes the memory.
    # It counts rows that are padded.
    codec.options = {**codec.options, "max_pixels": str(max_pixels + _PADDING_PIXELS)}
    codec.thread_type = "AUTO" if num_threads > 1 else "NONE"
    codec.thread_count = num_threads
    return container


def video_stream(container: InputContainer) -> VideoStream | None:
    """Find the first video stream that is not the cover picture of a sound file; None without.

    Args:
        container: an opened file.
    """
    streams = container.streams.video
    return next((s for s in streams if not s.disposition & Disposition.attached_pic), None)


def frame_pts(frame: av.VideoFrame, path: str) -> int:
    """Return the presentation time of a frame; AVI knows the order of decoding alone for some.

    Args:
        frame: from a decoder.
        path: of its video, for the message.

    Raises:
        VideoError: if the frame has none.
    """
    pts = frame.pts if frame.pts is not None else frame.dts
    if pts is None:
        raise VideoError(f"{path}: its frames carry no time stamps; remux it to mp4 or mkv")
    return pts


def read_packets(container: InputContainer, stream: VideoStream, path: str) -> Iterator[av.Packet]:
    """Read the packets of a stream, from the current position on.

    Args:
        container: the open file.
        stream: one of its streams.
        path: the file, or the URL, whose end is where nothing comes any more.

    Raises:
        VideoError: if the disk of a file fails, or is no longer there.
        FFmpegError: if what comes is no data of this format.
    """
    try:
        yield from container.demux(stream)
    except av.error.FFmpegError as error:
        if is_url(path) or isinstance(error, av.error.InvalidDataError):
            raise
        raise VideoError(f"{path}: cannot be read any further ({error.strerror})") from error


def _open(path: str) -> InputContainer:
    if is_url(path):
        options = url_options(path)
        return open_for_reading(path, timeout=_NETWORK_TIMEOUT_SECONDS, options=options)
    if os.path.getsize(path) == 0:
        raise VideoError(f"{path}: the file is empty")
    # "file:" keeps a colon in the path from being taken for a protocol.
    return open_for_reading(f"file:{path}", options=file_options())
