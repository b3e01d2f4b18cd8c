"""Growth of the memory in use."""

import mmap
import os

import pytest
import torch
from benchmarking.memory import PeakMemory

CPU = torch.device("cpu")


def use_and_free(megabytes: int) -> None:
    """Touch fresh pages; an allocator could hand out such as are resident already."""
    with mmap.mmap(-1, megabytes << 20) as pages:
        pages[:: mmap.PAGESIZE] = bytes(len(pages) // mmap.PAGESIZE)


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux's /proc")
def test_only_what_comes_later_counts():
    use_and_free(200)
    memory = PeakMemory(CPU)
    assert memory.growth_mb()["process"] < 20
    use_and_free(100)
    growth = memory.growth_mb()
    assert 95 < growth["process"] < 150
    assert growth["cuda"] is None
    use_and_free(10)
    assert memory.growth_mb()["process"] == pytest.approx(growth["process"], abs=5)
