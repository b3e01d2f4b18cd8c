"""Peak memory of this process and of its GPU since a chosen moment."""

from __future__ import annotations

import gc
import re
import resource
import sys
from pathlib import Path

import torch

from tubedet.modeling.backbone.csn.large_memory import give_freed_memory_back


class PeakMemory:
    """Remembers how much memory is in use and tells how much more was used at the worst moment.

    On Linux the process's high-water mark of resident memory is set back first. Elsewhere it
    cannot be: then memory that was used and freed before hides growth up to that size.

    Args:
        device: Whose memory is looked at too if it is a GPU.
    """

    def __init__(self, device: torch.device):
        self._device = device
        gc.collect()
        # What the C library keeps for later would be used first and so not be seen as growth.
        give_freed_memory_back()
        _set_back_high_water_mark()
        self._resident_before = _high_water_mark()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            torch.cuda.reset_peak_memory_stats(device)
            self._allocated_before = torch.cuda.memory_allocated(device)

    def growth_mb(self) -> dict[str, float | None]:
        """Return the largest growth since the object was made.

        Returns:
            dict: ``process``, of the resident memory, and ``cuda``, of the tensors on the GPU or
            None; in 2**20 bytes.
        """
        cuda = None
        if self._device.type == "cuda":
            most = torch.cuda.max_memory_allocated(self._device)
            cuda = (most - self._allocated_before) / 2**20
        return {"process": (_high_water_mark() - self._resident_before) / 2**20, "cuda": cuda}


def _set_back_high_water_mark() -> None:
    marks = Path("/proc/self/clear_refs")
    if marks.exists():
        marks.write_text("5")  # see proc(5)


def _high_water_mark() -> int:
    """Most resident memory so far, bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
