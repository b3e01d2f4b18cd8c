"""Detection by CUDA graphs: launches are recorded once for every size of clips, then replayed.

A pass over a few clips is thousands of small launches, and a GPU works on them in less time than
the host needs to issue them one by one.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .clip_batch import ClipBatch
from .losses import LayerOutput


@dataclass
class _Recording:
    """A graph, and the memory that it reads and writes."""

    clips: ClipBatch
    outputs: list[LayerOutput]
    replay: Callable[[], None]


class RecordedPrediction:
    """``predict`` of a detector, replayed from CUDA graphs.

    Clips of a size that is met for the first time are computed as usual, because that may be the
    only time. Graphs share their memory: results are valid until the next call.

    Args:
        predict: from a batch to predictions; does nothing but launch work on one GPU.
        max_sizes: sizes whose graphs are kept; the one that was not used for longest goes.
    """

    def __init__(self, predict: Callable[[ClipBatch], list[LayerOutput]], max_sizes: int = 8):
        self._predict = predict
        self._max_sizes = max_sizes
        self._recordings: OrderedDict[tuple, _Recording | None] = OrderedDict()
        self._pool: Any = None

    def __call__(self, clips: ClipBatch) -> list[LayerOutput]:
        """Predict as the detector does.

        Args:
            clips: on a GPU; no gradients are wanted.
        """
        kind = clips.tensor.device.type
        cast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        key = (clips.tensor.shape, clips.tensor.dtype, clips.tensor.device, cast, *clips.sizes)
        is_known = key in self._recordings
        recording = self._recordings.setdefault(key, None)
        self._recordings.move_to_end(key)
        if not is_known:
            if len(self._recordings) > self._max_sizes:
                self._recordings.popitem(last=False)
            return self._predict(clips)
        if recording is None:
            recording = self._recordings[key] = self._record(clips)
        recording.clips.tensor.copy_(clips.tensor)
        recording.clips.mask.copy_(clips.mask)
        recording.replay()
        return recording.outputs

    def __deepcopy__(self, memo: dict) -> RecordedPrediction:
        """Return a prediction without recordings, for the copy of the detector."""
        return RecordedPrediction(copy.deepcopy(self._predict, memo), self._max_sizes)

    def _record(self, clips: ClipBatch) -> _Recording:
        own = ClipBatch(clips.tensor.clone(), clips.mask.clone(), list(clips.sizes))
        graph = torch.cuda.CUDAGraph()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        # What autocast has cast so far is freed when its context ends; the graph makes its own.
        torch.clear_autocast_cache()
        # Other threads may pin memory for the next clips meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            outputs = self._predict(own)
        torch.clear_autocast_cache()
        return _Recording(own, outputs, graph.replay)
