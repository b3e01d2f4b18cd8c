"""Jobs under way: whom they belong to, how they are stopped, and how long they will take."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator


class RunningJobs:
    """Lets a visitor stop a job of his own, by the name of his session."""

    def __init__(self) -> None:
        self._stops: dict[str | None, threading.Event] = {}

    @contextlib.contextmanager
    def running(self, session: str | None) -> Iterator[Callable[[], bool]]:
        """Know a job for the time of the block.

        Args:
            session: whose job it is.

        Yields:
            Callable: says whether the job was stopped.
        """
        stop = self._stops[session] = threading.Event()
        try:
            yield stop.is_set
        finally:
            self._stops.pop(session, None)

    def stop(self, session: str | None) -> None:
        """Stop the job of a session, if it has one under way.

        Args:
            session: see :meth:`running`.
        """
        if stop := self._stops.get(session):
            stop.set()


def time_left(fraction: float, begun: float, now: float | None = None) -> str:
    """Say how long a job will still take; nothing in its first seconds.

    Args:
        fraction: that is done, in [0, 1].
        begun: when it began, in seconds of :func:`time.monotonic`.
        now: the time; None: of that clock.
    """
    passed = (time.monotonic() if now is None else now) - begun
    if passed < 2 or fraction <= 0:
        return ""
    seconds = passed * (1 - fraction) / fraction
    left = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
    return f", about {left} left"
