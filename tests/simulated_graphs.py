"""CUDA graphs of a GPU that is not there: to replay one is one launch."""

import torch


class SimulatedGraphs:
    """In place of a :class:`~tubedet.modeling.graph_recorder.GraphRecorder`.

    What is launched within a graph is computed, and not counted.

    Args:
        gpu: the :class:`simulated_gpu.SimulatedGPU`.
    """

    def __init__(self, gpu):
        self.gpu = gpu

    def record(self, device, launch):
        """Launch the function, and whenever it is replayed, into the memory of its results."""
        with self.gpu.uncounted():
            results = launch()

        def replay():
            with self.gpu.uncounted():
                with torch.enable_grad():
                    again = launch()
                with torch.no_grad():
                    for result, value in zip(results, again):
                        if isinstance(result, torch.Tensor):
                            result.copy_(value)
            self.gpu.launches["graph"] += 1

        return results, replay
