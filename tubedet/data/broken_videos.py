"""What happens when a key frame cannot be read: stop, or skip a bounded number of them."""

from __future__ import annotations

import logging

from tubedet.data.video.video_file import VideoError
from tubedet.errors import UserError

logger = logging.getLogger(__name__)


class BrokenVideoPolicy:
    """Skips up to a bounded number of unreadable key frames, then stops.

    It counts distinct key frames, so a long training which draws the same one once per epoch does
    not run into the limit. Loader workers are processes with a count of their own: with W workers
    up to W times as many key frames may be skipped. Every skip is logged with the running totals.

    Args:
        max_broken: distinct key frames which may be skipped in this process; 0 makes the
            first one an error.

    Raises:
        UserError: if it is negative.
    """

    def __init__(self, max_broken: int):
        if max_broken < 0:
            raise UserError(
                f"DATALOADER.MAX_BROKEN_KEYFRAMES must not be negative, got {max_broken}"
            )
        self.max_broken = max_broken
        self.num_skips = 0
        self._broken: set[tuple[str, float]] = set()

    @property
    def num_broken(self) -> int:
        """Distinct key frames skipped so far."""
        return len(self._broken)

    def handle(self, error: VideoError, *, video_id: str, timestamp: float) -> None:
        """Log the skip of a key frame, or raises when there were too many.

        Args:
            error: why it could not be read.
            video_id: its video.
            timestamp: its time, seconds on the film's clock.

        Raises:
            VideoError: naming file, video and key frame, if the limit is exceeded.
        """
        where = f"key frame {timestamp:g} s of video {video_id!r} cannot be read: {error}"
        self._broken.add((video_id, timestamp))
        if self.num_broken <= self.max_broken:
            self.num_skips += 1
            logger.warning(
                "Skipped: %s (broken key frames in this process: %d of at most %d; skips: %d)",
                where,
                self.num_broken,
                self.max_broken,
                self.num_skips,
            )
            return
        if self.max_broken:
            where += (
                f" ({self.num_broken} broken key frames in this process, "
                f"DATALOADER.MAX_BROKEN_KEYFRAMES is {self.max_broken})"
            )
        raise VideoError(where) from error
