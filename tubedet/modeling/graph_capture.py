"""Detection by CUDA graphs: launches are recorded once for every size of clips, then replayed.

A pass over a few clips is thousands of small launches, and a GPU works on them in less time than
the host needs to issue them one by one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from tubedet.layers import autocast_dtype, convolutions_use_tf32

from .clip_batch import ClipBatch
from .layer_output import tensors_of, with_tensors

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
    only time. Graphs share their memory; results are copies. Several threads may call it.

    Args:
        max_sizes: sizes whose graphs are kept; the one that was not used for longest goes.
    """

    def __init__(self, max_sizes: int = 8):
        self._max_sizes = max_sizes
        self._recordings: OrderedDict[tuple, _Recording | None] = OrderedDict()
        self._pool: Any = None
        self._stream: Any = None
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
        cast = autocast_dtype(clips.tensor.device)
        precision = (cast, convolutions_use_tf32(), torch.backends.cuda.matmul.fp32_precision)
        place = (clips.tensor.shape, clips.tensor.dtype, clips.tensor.device)
        key = (*place, *precision, *clips.sizes)
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
        return with_tensors(recording.outputs, [x.clone() for x in tensors_of(recording.outputs)])

    def __reduce__(self) -> tuple:
        """Copy and pickle one without recordings, for the copy of the detector."""
        return RecordedPrediction, (self._max_sizes,)

    def _record(self, predict: Predict, clips: ClipBatch, addresses: list[int]) -> _Recording:
        device = clips.tensor.device
        with torch.inference_mode(False):  # so that both modes may write to them
            own = ClipBatch(clips.tensor.clone(), clips.mask.clone(), list(clips.sizes))
        graph = torch.cuda.CUDAGraph()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream(device)  # PyTorch's own is on the first GPU used
        # What autocast has cast so far is freed when its context ends; the graph makes its own.
        torch.clear_autocast_cache()
        # Other threads may pin memory for the next clips meanwhile.
        options = {"stream": self._stream, "capture_error_mode": "thread_local"}
        with torch.cuda.device(device), torch.cuda.graph(graph, pool=self._pool, **options):
            outputs = self._launched(predict, own)
        torch.clear_autocast_cache()
        return _Recording(own, outputs, addresses, graph.replay)

    @staticmethod
    def _launched(predict: Predict, clips: ClipBatch) -> list:
        try:
            return predict(clips)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise RuntimeError(
                f"a pass that waits for the GPU cannot be recorded ({error}); set "
                "MODEL.CUDA_GRAPHS False"
            ) from error
