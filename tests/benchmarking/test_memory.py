"""Growth of the memory in use."""

import os

import numpy as np
import pytest
import torch

from tubedet.benchmarking.memory import PeakMemory

CPU = torch.device("cpu")


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux's /proc")
def test_only_what_comes_later_counts():
    np.ones(200 << 17)  # 200 MB, before
    memory = PeakMemory(CPU)
    assert memory.growth_mb()["process"] < 20
    np.ones(100 << 17)  # freed at once, but it was there
    growth = memory.growth_mb()
    assert 95 < growth["process"] < 150
    assert growth["cuda"] is None
    np.ones(10 << 17)
    assert memory.growth_mb()["process"] == pytest.approx(growth["process"], abs=5)
