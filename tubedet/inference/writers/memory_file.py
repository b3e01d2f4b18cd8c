"""What a model saw in each second of a video, for trainings with long-term context."""

from __future__ import annotations

from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from detectron2.structures import Instances

from tubedet.data.memory_store import Memory, MemoryBuilder, joined, write_memory

if TYPE_CHECKING:
    from tubedet.inference.video_detector import KeyFrameResult


class MemoryWriter(AbstractContextManager):
    """Collects the memory of one video and writes it when the ``with`` block ends.

    It takes at most 2.6 KB a second for five vectors of 256 numbers: 28 MB for three hours.

    Args:
        path: the file; missing folders are made.
        builder: chooses what is remembered.
        model: see :func:`~tubedet.data.memory_store.write_memory`.
    """

    def __init__(self, path: str | PathLike, builder: MemoryBuilder, model: str):
        self.path = Path(path)
        self._builder = builder
        self._model = model
        self._memories: list[Memory] = []
        self._feature_dim = 0

    def write(self, result: KeyFrameResult, persons: Instances | None = None) -> None:
        """Take the next key frame; ``persons`` are of no importance.

        Args:
            result: with ``action_features``.
            persons: those that were tracked.
        """
        seen = result.instances
        self._feature_dim = seen.action_features.shape[1]
        chosen = self._builder.chosen(result.time, seen.action_features, seen.scores)
        if chosen is not None:
            self._memories.append(chosen)

    def __exit__(self, *exc_info) -> None:
        if exc_info[0] is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_memory(self.path, joined(self._memories, self._feature_dim), model=self._model)
