"""Recording of CUDA graphs: what a function launches on a GPU, to be launched again at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from tubedet.layers import autocast_dtype, convolutions_use_tf32

from .clip_batch import ClipBatch

Result = TypeVar("Result")


class GraphRecorder:
    """Records functions; all graphs of a GPU share their memory and are recorded on one stream.

    Args:
        switch: config key that turns recording off, for messages.
    """

    def __init__(self, switch: str):
        self._switch = switch
        # Pool and stream by GPU. PyTorch's own stream is on the first GPU that was recorded.
        self._places: dict[torch.device, tuple[Any, Any]] = {}

    def record(
        self, device: torch.device, launch: Callable[[], Result]
    ) -> tuple[Result, Callable[[], None]]:
        """Call a function without computing anything.

        Args:
            device: the GPU that it works on.
            launch: does nothing but launch work.

        Returns:
            its result, whose tensors hold nothing yet, and what launches the work.

        Raises:
            RuntimeError: if the function waits for the GPU.
            torch.OutOfMemoryError: if the memory of the GPU is full.
        """
        with torch.cuda.device(device):
            if device not in self._places:
                self._places[device] = torch.cuda.graph_pool_handle(), torch.cuda.Stream(device)
            pool, stream = self._places[device]
            graph, before = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
            # What autocast has cast so far is freed when its context ends; the graph makes its own.
            torch.clear_autocast_cache()
            try:
                # Other threads may pin memory for the next clips meanwhile.
                with torch.cuda.graph(
                    graph, pool=pool, stream=stream, capture_error_mode="thread_local"
                ):
                    result = launch()
            except RuntimeError as error:
                # The end of a recording that failed fails, too.
                first = error.__context__ if isinstance(error.__context__, RuntimeError) else error
                if isinstance(first, torch.OutOfMemoryError):
                    raise first from None
                raise RuntimeError(
                    f"work that waits for the GPU cannot be recorded ({first}); set "
                    f"{self._switch} False"
                ) from first
            finally:
                torch.cuda.set_stream(before)  # PyTorch stays on its own stream if that end fails
                torch.clear_autocast_cache()
        return result, graph.replay


def form_of(clips: ClipBatch) -> tuple:
    """Return what a recording depends on: shape, dtype and place of clips, and the precision.

    Args:
        clips: the batch.
    """
    x = clips.tensor
    precision = autocast_dtype(x.device), convolutions_use_tf32()
    return (x.shape, x.dtype, x.device, *precision, torch.backends.cuda.matmul.fp32_precision)
