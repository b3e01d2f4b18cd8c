"""Detection by CUDA graphs: launches are recorded once for every size of clips, then replayed.

A pass over a few clips is thousands of small launches, and a GPU works on them in less time than
the host needs to issue them one by one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from .clip_batch import ClipBatch
from .graph_recorder import GraphRecorder, form_of
from .layer_output import filled_with, tensors_of

Predict = Callable[[ClipBatch], list]


@dataclass
class _Recording:
    """A graph, and the memory that it reads and writes."""

    clips: ClipBatch
    outputs: list
    weights: list[int]
    replay: Callable[[], None]


class RecordedPrediction:
    """``predict`` of a detector, replayed from CUDA graphs.

    Clips of a size that is met for the first time are computed as usual, because that may be the
    only time. Graphs share their memory; results are copies. Several threads
    that launch work on one stream may call it.

    Args:
        max_sizes: sizes whose graphs are kept; the one that was not used for longest goes.
    """

    def __init__(self, max_sizes: int = 8):
        self._max_sizes = max_sizes
        self._recordings: OrderedDict[tuple, _Recording | None] = OrderedDict()
        self._graphs = GraphRecorder("MODEL.CUDA_GRAPHS")
        self._lock = threading.Lock()

    def __call__(self, predict: Predict, clips: ClipBatch, weights: Iterable[torch.Tensor]) -> list:
        """Predict as the detector does.

        Args:
            predict: does nothing but launch work on one GPU; returns a list, of tensors or of what
                holds some.
            clips: on a GPU; no gradients are wanted.
            weights: of the detector; where they have moved in memory, it is recorded again.

        Raises:
            RuntimeError: if ``predict`` waits for the GPU.
        """
        with self._lock:
            return self._predict(predict, clips, weights)

    def _predict(self, predict: Predict, clips: ClipBatch, weights: Iterable[torch.Tensor]) -> list:
        key = (*form_of(clips), *clips.sizes)
        is_known = key in self._recordings
        recording = self._recordings.setdefault(key, None)
        self._recordings.move_to_end(key)
        if not is_known:
            if len(self._recordings) > self._max_sizes:
                self._recordings.popitem(last=False)
            return predict(clips)
        addresses = [weight.data_ptr() for weight in weights]
        if recording is None or recording.weights != addresses:
            recording = self._recordings[key] = self._record(predict, clips, addresses)
        recording.clips.tensor.copy_(clips.tensor)
        recording.clips.mask.copy_(clips.mask)
        recording.replay()
        copies = [x.clone() for x in tensors_of(recording.outputs)]
        return filled_with(recording.outputs, copies)

    def __reduce__(self) -> tuple:
        """Copy and pickle one without recordings, for the copy of the detector."""
        return RecordedPrediction, (self._max_sizes,)

    def _record(self, predict: Predict, clips: ClipBatch, addresses: list[int]) -> _Recording:
        device = clips.tensor.device
        with torch.inference_mode(False):  # so that both modes may write to them
            own = ClipBatch(clips.tensor.clone(), clips.mask.clone(), list(clips.sizes))
        outputs, replay = self._graphs.record(device, lambda: predict(own))
        return _Recording(own, outputs, addresses, replay)
