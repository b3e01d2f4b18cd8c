"""Which frames of a video file need not be decoded for a clip."""

from __future__ import annotations

import math
from bisect import bisect_right

import av
from av.container import InputContainer
from av.video.stream import VideoStream


class MissedFrameError(Exception):
    """A frame was left out that would have been shown."""


def states_own_times(container: InputContainer, stream: VideoStream) -> bool:
    """Whether the time of every frame is that of its packet, so that packets tell frames apart.

    AVI has no times of its own, and MPEG-4 may pack two frames into a packet: there the time of a
    packet with B-frames is not that of the frame which the decoder makes of it. So only H.264 in
    other containers is relied on, which is what films are mostly stored in.

    Args:
        container: the open file.
        stream: its video.
    """
    return stream.codec_context.name == "h264" and "avi" not in container.format.name.split(",")


class UnseenFrames:
    """Tells packets whose frame is not shown in a clip, by their time stamps and durations.

    A decoder may leave such a frame out if no other frame is predicted from it. A file may state
    wrong durations, so what was left out is kept in mind: :meth:`check_shown` finds out afterwards
    whether a frame is missing.

    Args:
        limits: ascending pts limits; the last frame below a limit is shown there.
    """

    def __init__(self, limits: list[float]):
        self._limits = limits
        self._left_out: list[int] = []

    def leave_out(self, packet: av.Packet) -> bool:
        """Whether the frame of a packet is shown at none of the limits.

        Args:
            packet: of the video stream.
        """
        if packet.pts is None or not packet.duration:
            return False
        following = bisect_right(self._limits, packet.pts)
        # Durations may be rounded; a quarter more keeps a frame too many at most.
        end = packet.pts + packet.duration * 1.25
        if following < len(self._limits) and self._limits[following] <= end:
            return False
        self._left_out.append(packet.pts)
        return True

    def check_shown(self, shown: int | None, limit: float) -> None:
        """Make sure that nothing was left out between a limit and the frame shown there.

        Args:
            shown: pts of the last decoded frame below the limit; None: there is none.
            limit: one of the limits; all frames below it have been decoded or left out.

        Raises:
            MissedFrameError: if a frame that was left out belongs there.
        """
        start = -math.inf if shown is None else shown
        if any(start < pts < limit for pts in self._left_out):
            raise MissedFrameError
