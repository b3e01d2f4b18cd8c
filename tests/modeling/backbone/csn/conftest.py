"""Triton kernels run on a GPU if there is one, else on the CPU in Triton's interpreter."""

import pytest
import torch

from tubedet.modeling.backbone.csn.cuda import launching


@pytest.fixture
def kernel_device(monkeypatch):
    """Name of the device on which kernels run in this test; the CSN runs them there too."""
    pytest.importorskip("triton")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    monkeypatch.setattr(launching, "runs_kernels", lambda x: x.device.type == device)
    return device
