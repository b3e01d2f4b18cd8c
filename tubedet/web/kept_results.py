"""Results that a tab of a browser shows, kept so that they are there again after a reload."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ShownVideo:
    """What the page shows of one video.

    Attributes:
        name: of the upload.
        status: HTML of the message.
        timeline: HTML.
        video: annotated mp4 where it can be asked for; None: there is none.
        files: the csv and the json lines.
        is_failed: whether the message is an error.
    """

    name: str
    status: str
    timeline: str
    video: str | None = None
    files: Sequence[str] = ()
    is_failed: bool = False


@dataclass
class Batch:
    """Videos of one press of the button, and what was chosen for them.

    Attributes:
        uploads: paths of all of them.
        threshold, rate, smoothing: of the sliders.
        videos: results so far, in the order of the uploads.
        shown: which one the visitor looks at.
        sent: which one the page has got.
        made: seconds of the clock of :class:`KeptResults` when the last result came.
    """

    uploads: Sequence[str]
    threshold: float
    rate: float
    smoothing: float
    videos: list[ShownVideo] = field(default_factory=list)
    shown: int = 0
    sent: int | None = None
    made: float = 0.0


class KeptResults:
    """The last batch of each tab, by a secret that the tab alone knows.

    A tab makes its secret by chance and keeps it while it is open, over reloads. Nothing else leads
    to its results, so nobody gets those of another visitor or of an earlier one.

    Args:
        keep_seconds: age at which results are forgotten; their files are deleted then.
        max_batches: that are remembered; the oldest ones make room.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        *,
        keep_seconds: float,
        max_batches: int = 50,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._keep_seconds = keep_seconds
        self._max_batches = max_batches
        self._clock = clock
        self._batches: dict[str, Batch] = {}
        self._lock = threading.Lock()  # gradio runs functions in threads

    def keep(self, tab: str, batch: Batch) -> None:
        """Keep a batch in place of the tab's earlier one.

        Args:
            tab: secret of the tab.
            batch: with a new result.
        """
        with self._lock:
            batch.made = self._clock()
            self._batches.pop(tab, None)
            self._batches[tab] = batch
            self._forget()

    def of(self, tab: str) -> Batch | None:
        """Return what a tab shows; None if nothing is known or its files are gone.

        Args:
            tab: secret of the tab.
        """
        with self._lock:
            self._forget()
            batch = self._batches.get(tab)
        if batch is None:
            return None
        files = [path for shown in batch.videos for path in (shown.video, *shown.files) if path]
        return batch if all(Path(path).is_file() for path in files) else None

    def _forget(self) -> None:
        oldest = self._clock() - self._keep_seconds
        young = [(tab, batch) for tab, batch in self._batches.items() if batch.made > oldest]
        self._batches = dict(young[-self._max_batches :])
