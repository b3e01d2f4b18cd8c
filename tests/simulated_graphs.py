"""CUDA graphs without a GPU: what was recorded is computed again when it is replayed."""

import contextlib

import torch


class SimulatedGraphs:
    """In place of a :class:`~tubedet.modeling.graph_recorder.GraphRecorder`.

    Args:
        gpu: a :class:`simulated_gpu.SimulatedGPU`, for which a replay is one launch. It refuses to
            record what waits for it or copies between it and the host. None: the CPU.

    Attributes:
        captures: functions that were recorded.
    """

    def __init__(self, gpu=None):
        self.gpu = gpu
        self.captures = 0

    def record(self, device, launch):
        """Launch the function, and whenever it is replayed, into the memory of its results."""
        self.captures += 1
        with self._uncounted():
            results = launch()
            if self.gpu is not None:
                assert not self.gpu.synchronisations and not self.gpu.copies

        def replay():
            with self._uncounted(), torch.enable_grad():
                for result, value in zip(results, launch()):
                    if isinstance(result, torch.Tensor):
                        result.data.copy_(value.data)
            if self.gpu is not None:
                self.gpu.launches["graph"] += 1

        return results, replay

    def _uncounted(self):
        return contextlib.nullcontext() if self.gpu is None else self.gpu.uncounted()
