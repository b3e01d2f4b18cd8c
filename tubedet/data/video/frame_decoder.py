"""Decoding the frames of a video file from its start or from a key frame on."""

from __future__ import annotations

import functools
import gc
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from tubedet.files.urls import is_url

from .container import (
    MAX_PIXELS,
    VideoError,
    frame_pts,
    open_video_container,
    read_packets,
    video_stream,
)
from .damaged_frames import DamagedFrames
from .frame_index import FrameIndex, frame_index, key_frame_pts, may_lack_times

# Freeing a codec waits for its threads, and for ever in a forked process, which does not have them.
# So the garbage collector of a child (a loader worker) must not touch what was garbage before.
os.register_at_fork(before=gc.freeze, after_in_parent=gc.unfreeze)


class FrameDecoder(AbstractContextManager):
    """The frames of a video file in order, from a place in it on.

    Where a container does not tell the times of frames after a seek, decoding begins at the start
    of the file, or at a key frame that is found by reading the file from its start.

    Args:
        path: the file or URL.
        num_threads: decoder threads.
        max_pixels: larger frames are refused, and not decoded where they come later.

    Raises:
        VideoError: if the file is missing, empty, damaged or holds no video stream.

    Attributes:
        path: the file or URL.
        max_pixels: of a frame.
        damage: how many frames could not be decoded so far.
    """

    def __init__(self, path: str, *, num_threads: int, max_pixels: int = MAX_PIXELS):
        self.path = path
        self.max_pixels = max_pixels
        self.damage = DamagedFrames(path)
        self._num_threads = num_threads
        self._first_pts = 0
        # What was decoded on opening, and what follows; None once something else was decoded.
        self._head: Iterator[av.VideoFrame] | None = None
        # Tells the packet with which decoding begins; None: it is the first one.
        self._begins: Callable[[av.Packet], bool] | None = None
        self._index: FrameIndex | None = None
        self._container = self._open()
        try:
            self._stream: VideoStream = video_stream(self._container)
            if not is_url(path) and may_lack_times(self._container, self._stream):
                self._index = frame_index(path)
        except BaseException:
            self.close()
            raise

    def _open(self) -> InputContainer:
        return open_video_container(
            self.path, num_threads=self._num_threads, max_pixels=self.max_pixels
        )

    def _check_open(self) -> None:
        if self._container is None:
            raise VideoError(f"{self.path}: the reader is closed")

    @functools.cached_property
    def _key_pts(self) -> list[int] | None:
        return None if is_url(self.path) else key_frame_pts(self.path, self._container)

    def _numbered(self) -> FrameIndex:
        self._check_open()
        if self._index is None:
            self._index = frame_index(self.path)
            if self._index.is_counted:
                self._head, self._first_pts = None, int(self._index.pts[0])
        return self._index

    @property
    def seeks(self) -> bool:
        """Whether clips are decoded from the key frame before them, not from the first frame."""
        return self._index is None or not self._index.is_counted

    def count_frames(self) -> int:
        """Count the frames that have a number; the first call reads the whole file."""
        return len(self._numbered().pts)

    def close(self) -> None:
        """Close the file; the reader cannot be used afterwards."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def __exit__(self, *exc_info) -> None:
        self.close()

    def _seek(self, pts: float, *, rewind: bool) -> bool:
        """Move to the key frame at or before ``pts``, or to the very start; False if refused."""
        self._head = self._begins = None
        if not rewind and not self.seeks:
            return False
        key_pts = None if rewind else self._key_pts
        if rewind or key_pts is not None:
            if key_pts is not None:
                place = bisect_right(key_pts, pts) - 1
                if place < 0:
                    return False
                self._begins = functools.partial(_has_pts, key_pts[place])
            # A file opened anew also serves the formats which cannot seek.
            self._container.close()
            self._container = self._open()
            self._stream = video_stream(self._container)
            return True
        self._begins = _is_key_frame
        try:
            self._container.seek(max(int(pts), self._first_pts), stream=self._stream)
        except (av.error.FFmpegError, OverflowError):  # the latter: beyond what 64 bits count
            return False
        return True

    def _decoded_frames(
        self, leave_out: Callable[[av.Packet], bool] | None = None
    ) -> Iterator[av.VideoFrame]:
        """Frames from the current position on, none if a key frame sought cannot be shown itself.

        Undecodable packets are left out, and frames of packets for which ``leave_out`` is true, if
        no other frame needs them.
        ``self._damaged`` tells whether packets were left out since the last frame, ``self.damage``
        how many, and ``self._cut_off`` whether the file ended within a packet.
        """
        self._damaged = self._cut_off = False
        self.damage.begin()
        packets = read_packets(self._container, self._stream, self.path)
        decoder = self._stream.codec_context
        decoder.skip_frame = "DEFAULT"
        begins, begin_pts = self._begins, None
        counted = self._index.counted_pts() if self._index and self._index.is_counted else None
        while True:
            packet = None
            try:
                packet = next(packets, None)
                if packet is not None and packet.size:
                    if begins is not None and not begins(packet):
                        continue
                    if begins is not None and not packet.is_discard:
                        begin_pts = packet.pts
                    begins = None
                    self._cut_off = packet.is_corrupt
                    if leave_out is not None:
                        decoder.skip_frame = "NONREF" if leave_out(packet) else "DEFAULT"
                frames = self._stream.decode(packet)
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self._damaged = True
                self.damage.lose(packet)
                continue
            for frame in frames:
                # With a refresh of the picture part by part, no place but the start is safe.
                if begin_pts is not None and frame_pts(frame, self.path) > begin_pts:
                    return
                begin_pts = None
                is_early = self.damage.look_at(frame)  # whose times are those of packets
                if counted is not None:
                    frame.pts = next(counted)
                yield frame
                self._damaged = is_early
            if packet is None:
                return


def _is_key_frame(packet: av.Packet) -> bool:
    return packet.is_keyframe


def _has_pts(pts: int, packet: av.Packet) -> bool:
    return packet.pts == pts
