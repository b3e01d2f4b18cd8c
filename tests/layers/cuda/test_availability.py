"""Where Triton kernels run."""

import pytest
import torch

from tubedet.layers.cuda import availability


def test_where_triton_cannot_compile_it_is_said_once(monkeypatch, caplog):
    trial_kernel = pytest.importorskip("tubedet.layers.cuda.trial_kernel")
    trials = []

    def fail(device):
        trials.append(device)
        raise RuntimeError("Failed to find C compiler.\nPlease specify via CC")

    monkeypatch.setattr(trial_kernel, "launch_trial", fail)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    known = availability._is_known_to_triton
    known.cache_clear()
    try:
        assert not any(known(torch.device("cuda:7")) for _ in range(2))
    finally:
        known.cache_clear()
    (record,) = caplog.records
    assert "(RuntimeError: Failed to find C compiler.)" in record.getMessage()
    assert trials == [torch.device("cuda:7")]
