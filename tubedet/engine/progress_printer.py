"""One short console line of training progress."""

import datetime
import logging
import re

import torch
from detectron2.utils.events import EventWriter, get_event_storage

_AUXILIARY = re.compile(r"^loss_.*_\d+$")


class ProgressPrinter(EventWriter):
    """Print iteration, ETA, the losses of the last layer, times, learning rate and GPU memory.

    detectron2's ``CommonMetricPrinter`` prints every loss, which is 24 of them with six decoder
    layers; all are still in ``metrics.json`` and TensorBoard.

    Args:
        max_iter: of the training.
        window_size: iterations over which losses and times are smoothed by their median.
    """

    def __init__(self, max_iter: int, window_size: int = 20):
        self.logger = logging.getLogger("tubedet.progress")
        self.max_iter = max_iter
        self.window_size = window_size

    def write(self):
        """Log the line of the current iteration."""
        storage = get_event_storage()
        histories = storage.histories()
        if "total_loss" not in histories or storage.latest()["total_loss"][1] != storage.iter:
            return  # nothing was trained in this iteration: it is that of the evaluation at the end
        parts = [f"iter {storage.iter + 1}/{self.max_iter}"]
        if "time" in histories:
            seconds = histories["time"].median(1000)
            left = seconds * (self.max_iter - storage.iter - 1)
            storage.put_scalar("eta_seconds", left, smoothing_hint=False)
            parts.append(f"eta {datetime.timedelta(seconds=int(left))}")
        parts += [
            f"{name} {history.median(self.window_size):.4g}"
            for name, history in histories.items()
            if "loss" in name and "/" not in name and not _AUXILIARY.match(name)
        ]
        for name, label in (("time", "s/iter"), ("data_time", "s waiting for data")):
            if name in histories:
                parts.append(f"{histories[name].median(self.window_size):.3f} {label}")
        if "lr" in histories:
            parts.append(f"lr {histories['lr'].latest():.3g}")
        if torch.cuda.is_available():
            parts.append(f"{torch.cuda.max_memory_allocated() / 2**20:.0f} MiB")
        self.logger.info("  ".join(parts))
