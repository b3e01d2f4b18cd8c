"""How many frames of a video cannot be decoded, and how that is said."""

from __future__ import annotations

import logging

import av

logger = logging.getLogger(__name__)


class DamagedFrames:
    """Counts the damaged frames of a video, each once however often it is decoded.

    A frame that is larger than what is accepted counts as well: the decoder refuses it.

    Args:
        path: of the video, for messages.

    Attributes:
        path: of the video.
    """

    def __init__(self, path: str):
        self.path = path
        self._lost: set[int | None] = set()
        self._faulty: set[int | None] = set()
        self._last_lost: int | None = None
        self._is_clean_before = False
        self._is_said = False

    @property
    def num_lost(self) -> int:
        """Frames that were left out so far, as none came of their packets."""
        return len(self._lost)

    @property
    def num_faulty(self) -> int:
        """Frames that were shown so far although the decoder made up parts of them."""
        return len(self._faulty)

    def begin(self) -> None:
        """Note that decoding begins at some place: what it shows at first may lack its past."""
        self._last_lost, self._is_clean_before = None, False

    def lose(self, packet: av.Packet | None) -> None:
        """Count a packet that cannot be decoded.

        Args:
            packet: None, or an empty one: the decoder was asked for its last frames.
        """
        if packet is not None and packet.size:
            self._last_lost = packet.dts if packet.pts is None else packet.pts
            self._lost.add(self._last_lost)

    def look_at(self, frame: av.VideoFrame) -> bool:
        """Count a decoded frame if it is faulty.

        Args:
            frame: as it comes from the decoder, in the order in which frames are shown.

        Returns:
            bool: whether a packet was lost that may lie behind it: decoders hand frames out late.
        """
        if not frame.is_corrupt:
            self._is_clean_before = True
        elif self._is_clean_before:
            self._faulty.add(frame.pts)
        if self._last_lost is None or frame.pts is None:
            return False
        return frame.pts < self._last_lost

    def message(self, num_frames: int | None) -> str | None:
        """Say how much is damaged; None if nothing is.

        Args:
            num_frames: of the video, as far as it is known.
        """
        of_all = "frames" if num_frames is None else f"of about {num_frames} frames"
        if self._lost and self._faulty:
            found = f"{self.num_lost} {of_all} are damaged and left out, "
            return f"{self.path}: {found}{self.num_faulty} more are shown with faults"
        if self._lost:
            return f"{self.path}: {self.num_lost} {of_all} are damaged and left out"
        if self._faulty:
            return f"{self.path}: {self.num_faulty} {of_all} are damaged and shown with faults"
        return None

    def warn_once(self, num_frames: int | None) -> None:
        """Log a warning when damage has been met for the first time; clips meet a part of it.

        Args:
            num_frames: see :meth:`message`.
        """
        if not self._is_said and (message := self.message(num_frames)):
            self._is_said = True
            logger.warning(f"{message}, as far as it was read by now")
