"""The frames of a video file by number: when each of them is shown.

The number of a frame is its place in sequential decoding. Frame rates vary, so it does not follow
from the time of the frame; it is looked up in an index, which is made once for each file.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from .container import VideoError, frame_pts, open_video_container, video_stream
from .index_files import load_index_file, save_index_file

# Here a frame is what a packet holds, and it has the time of the packet: nothing needs decoding.
_TIMED_FORMATS = {"mp4", "matroska"}
_ONE_FRAME_PER_PACKET = {
    *("h264", "hevc", "vp9", "av1", "mpeg1video", "mpeg2video"),
    *("mjpeg", "prores", "dnxhd", "ffv1", "huffyuv", "png"),
}
# These know the order of decoding alone, and some decoders do not find the times by themselves.
_UNTIMED_FORMATS = {"avi", "asf", "mxf"}
_REORDERED_CODECS = {"h264", "hevc", "mpeg4"}
# These state times for some frames only. What lies between is guessed, and wrong after a seek.
_PARTLY_TIMED_FORMATS = {"mpeg", "mpegts"}
# Scanning the packets of a smaller file takes no longer than reading an index file.
_MIN_SCANNED_BYTES = 16 << 20
_MAX_IN_MEMORY = 256


@dataclass(frozen=True)
class FrameIndex:
    """When the frames of a video file are shown.

    Attributes:
        pts: (N,) int64, ascending; element i belongs to frame i of sequential decoding.
        is_counted: Whether the time stamps of decoded frames do not tell their order, so that
            ``pts`` are found by counting from the first frame.
        end: Why frames behind the last one have no number; empty if the video ends there.
    """

    pts: np.ndarray
    is_counted: bool = False
    end: str = ""

    def counted_pts(self) -> Iterator[int]:
        """Return the pts of the frames from the first one on, without an end."""
        last = int(self.pts[-1])
        return itertools.chain(self.pts.tolist(), itertools.count(last + 1))

    def limits(self, indices: np.ndarray) -> np.ndarray:
        """Return pts below which a frame is the last one.

        Args:
            indices: (T,) of frames.

        Returns:
            float64 array (T,): half a usual frame, or half the frame itself, after its begin.
        """
        return self.pts[indices] + self._half_steps[indices]

    @functools.cached_property
    def _half_steps(self) -> np.ndarray:
        steps = np.diff(self.pts)
        usual = np.median(steps) if len(steps) else 1
        return np.minimum(np.append(steps, usual), usual) / 2


def frame_index(path: str) -> FrameIndex:
    """Find the index of a file: in memory, in the file beside it, or by reading the video.

    Args:
        path: the video file.

    Raises:
        VideoError: if it cannot be read, or its frames carry no time stamps.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise VideoError(f"{path}: {error.strerror or error}") from error
    return _remembered(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(_MAX_IN_MEMORY)
def _remembered(path: str, size: int, mtime_ns: int) -> FrameIndex:
    stored = load_index_file(path, size=size, mtime_ns=mtime_ns)
    if stored is not None:
        return FrameIndex(**stored)
    index = _scanned(path)
    is_slow = index is None or size >= _MIN_SCANNED_BYTES
    index = index or _decoded(path)
    if is_slow:
        content = {"pts": index.pts, "is_counted": index.is_counted, "end": index.end}
        save_index_file(path, content, size=size, mtime_ns=mtime_ns)
    return index


def may_lack_times(container: InputContainer, stream: VideoStream) -> bool:
    """Whether decoded frames may not have the time at which they are shown.

    Args:
        container: the open file.
        stream: its video.
    """
    codec = stream.codec_context
    is_reordered = codec.name in _REORDERED_CODECS and codec.has_b_frames
    return is_reordered and not _UNTIMED_FORMATS.isdisjoint(container.format.name.split(","))


def key_frame_pts(path: str, container: InputContainer) -> list[int] | None:
    """Where decoding may begin in a file whose time stamps are wrong after a seek.

    Args:
        path: the file.
        container: the same, opened.

    Returns:
        ascending pts of key frames as they are when the file is read from its start; None if its
        time stamps are right everywhere.

    Raises:
        VideoError: if the file cannot be read.
    """
    if container.format.name not in _PARTLY_TIMED_FORMATS:
        return None
    found: list[int] = []
    is_guessed = False
    with open_video_container(path, num_threads=1) as other:
        for packet in _packets(other, video_stream(other)):
            # What begins within another packet of the container has no time of its own.
            is_guessed |= packet.pos is None
            if packet.is_keyframe and packet.pts is not None:
                found.append(packet.pts)
    return sorted(found) if is_guessed else None


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """Packets with content, up to the first that cannot be read."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            return
        if packet is None:
            return
        if packet.size:
            yield packet


def _scanned(path: str) -> FrameIndex | None:
    """Make the index from packets; None if that would not be exact."""
    pts: list[int] = []
    end = ""
    with open_video_container(path, num_threads=1) as container:
        stream: VideoStream = video_stream(container)
        if (
            _TIMED_FORMATS.isdisjoint(container.format.name.split(","))
            or stream.codec_context.name not in _ONE_FRAME_PER_PACKET
        ):
            return None
        for packet in _packets(container, stream):
            if packet.is_corrupt:
                end = "the file is cut off or damaged there"
                break
            # An edit list hides frames; a video may begin with frames that need earlier ones.
            if packet.pts is None or packet.is_discard or not (pts or packet.is_keyframe):
                return None
            pts.append(packet.pts)
    ordered = np.unique(np.array(pts, dtype=np.int64))
    if not pts or len(ordered) < len(pts) or ordered[0] != pts[0]:
        return None
    return FrameIndex(ordered, end=end)


def _decoded(path: str) -> FrameIndex:
    """Make the index by decoding the video once."""
    pts: list[int] = []
    end = ""
    with open_video_container(path, num_threads=1) as container:
        stream: VideoStream = video_stream(container)
        for packet in itertools.chain(_packets(container, stream), [None]):
            if packet is not None and packet.is_corrupt:
                end = "the file is cut off or damaged there"
                break
            try:
                frames = stream.decode(packet)
            except av.error.EOFError:
                break
            except av.error.FFmpegError:
                end = "the file is damaged there"
                break
            pts += [frame_pts(frame, path) for frame in frames]
    if not pts:
        raise VideoError(f"{path}: the video stream holds no decodable frame")
    in_order = np.array(pts, dtype=np.int64)
    if (np.diff(in_order) > 0).all():
        return FrameIndex(in_order, end=end)
    # Sorted they are the times of the frames; equal ones are moved apart.
    places = np.arange(len(pts))
    ascending = np.maximum.accumulate(np.sort(in_order) - places) + places
    return FrameIndex(ascending, is_counted=True, end=end)
