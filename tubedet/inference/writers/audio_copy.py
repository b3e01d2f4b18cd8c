"""Sound of a video, copied to another one as it is."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Iterator

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from tubedet.data.video.container import VideoError, open_video_container, video_stream

logger = logging.getLogger(__name__)


class AudioCopy:
    """Copies the audio streams of a file packet by packet, without decoding them.

    What cannot be copied is left out, and a line of the log says so: the pictures matter more.

    Args:
        source: file or URL to copy from.
        output: container to copy to, before the first packet is written.
        start: seconds after the first video frame of ``source`` at which the output begins.
        end: seconds after that frame at which the output ends; None: copy all.
    """

    def __init__(
        self,
        source: str,
        output: OutputContainer,
        *,
        start: float = 0.0,
        end: float | None = None,
    ):
        self._source = source
        self._output = output
        self._start = start
        self._length = None if end is None else end - start
        self._packets: Iterator[av.Packet] = iter(())
        self._next: av.Packet | None = None
        self._container: InputContainer | None = None
        try:
            self._origin = self._origin_of_output()
            self._container = container = open_video_container(source, num_threads=1)
            self._add_streams(container)
        except (FFmpegError, VideoError) as error:
            self._give_up(error)

    def copy_until(self, time: float | None) -> None:
        """Write the sound that begins before ``time``.

        Args:
            time: seconds after the beginning of the output; None: up to the end.

        Raises:
            OSError: if the disk is full.
        """
        try:
            while self._next is not None:
                packet, begin = self._next, self._time(self._next)
                if self._length is not None and begin >= self._length:
                    self.close()
                    return
                if time is not None and begin >= time:
                    return
                if begin >= 0:
                    self._mux(packet)
                self._next = next(self._packets, None)
        except FFmpegError as error:
            if error.errno == errno.ENOSPC:
                raise
            self._give_up(error)

    def close(self) -> None:
        """Close the source."""
        self._next, self._packets = None, iter(())
        if self._container is not None:
            self._container.close()
            self._container = None

    def _origin_of_output(self) -> float:
        """Time stamp in the source, seconds, that is time 0 of the output."""
        with open_video_container(self._source, num_threads=1) as container:
            return _first_frame_time(container) + self._start

    def _add_streams(self, container: InputContainer) -> None:
        self._streams = {}
        for stream in container.streams.audio:
            codec = stream.codec_context.name if stream.codec_context else "of an unknown kind"
            if codec in self._output.supported_codecs:
                self._streams[stream.index] = self._output.add_stream_from_template(stream)
            else:
                container = self._output.format.name
                hint = "" if container == "matroska" else "; .mkv holds it"
                logger.warning(
                    f"{self._source}: its sound ({codec}) is left out, which a file of type "
                    f"{container} cannot hold{hint}"
                )
        if not self._streams:
            self.close()
            return
        if self._start > 0:
            container = self._seek(container, self._origin)
        streams = [container.streams[index] for index in self._streams]
        self._packets = (p for p in container.demux(streams) if p.pts is not None)
        self._next = next(self._packets, None)

    def _seek(self, container: InputContainer, time: float) -> InputContainer:
        try:
            container.seek(int(time * av.time_base))
        except FFmpegError:  # what cannot seek is read from its beginning
            container.close()
            self._container = container = open_video_container(self._source, num_threads=1)
        return container

    def _time(self, packet: av.Packet) -> float:
        return float(packet.pts * packet.time_base) - self._origin

    def _mux(self, packet: av.Packet) -> None:
        shift = round(self._origin / packet.time_base)
        packet.pts -= shift
        packet.dts = packet.pts if packet.dts is None else packet.dts - shift
        packet.stream = self._streams[packet.stream.index]
        self._output.mux(packet)

    def _give_up(self, error: OSError) -> None:
        logger.warning(f"{self._source}: its sound is left out from here on: {error}")
        self.close()


def _first_frame_time(container: InputContainer) -> float:
    """Time stamp of the first video frame that can be decoded, seconds."""
    stream: VideoStream = video_stream(container)
    for packet in container.demux(stream):
        with contextlib.suppress(FFmpegError):  # readers leave out undecodable frames, too
            for frame in stream.decode(packet):
                return 0.0 if frame.time is None else frame.time
    return 0.0
