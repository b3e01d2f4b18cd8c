"""What the files with one entry per key frame have in common."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from detectron2.structures import Instances

from tubedet.files.atomic_writing import open_atomically

if TYPE_CHECKING:
    from tubedet.inference.video_detector import KeyFrameResult


class KeyFrameWriter(AbstractContextManager, ABC):
    """A text file about the key frames of one video.

    It takes its name when the ``with`` block ends; when that ends by an exception, the file is
    removed and whatever had the name before stays. Memory does not grow with its length.

    Args:
        path: the file; missing folders are made, an older file is replaced at the end.
    """

    def __init__(self, path: str | PathLike):
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._resources = contextlib.ExitStack()
        self._stream = self._resources.enter_context(open_atomically(self.path))

    @abstractmethod
    def write(self, result: KeyFrameResult, persons: Instances) -> None:
        """Take the next key frame.

        Args:
            result: the model's output.
            persons: those of its detections that were tracked, see
                :meth:`tubedet.inference.tracking.PersonTracker.update`.
        """

    def finish(self) -> None:
        """Complete the text, before the file is closed."""

    def __exit__(self, *exc_info) -> None:
        if exc_info[0] is None:
            with self._resources:
                self.finish()
        else:
            self._resources.__exit__(*exc_info)


class PersonsWriter(KeyFrameWriter):
    """A :class:`KeyFrameWriter` of the tracked persons, by the names of their actions.

    Args:
        path: the file.
        video: name of the video.
        action_names: A names; name k is that of the 0-based action k.
        min_score: actions with a lower score are left out.
    """

    def __init__(
        self,
        path: str | PathLike,
        video: str,
        action_names: Sequence[str],
        *,
        min_score: float = 0.05,
    ):
        super().__init__(path)
        self.video = video
        self.action_names = list(action_names)
        self.min_score = min_score


def actions_by_score(scores: torch.Tensor, min_score: float) -> list[tuple[int, float]]:
    """Return the actions of a person, the surest first.

    Args:
        scores: (A,) action scores.
        min_score: actions with a lower score are left out.

    Returns:
        Pairs (0-based action, score rounded to four decimals).
    """
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] >= min_score]
    return [(action, round(scores[action].item(), 4)) for action in order.tolist()]
