"""The stem by kernels against PyTorch's operators."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("triton")
from tubedet.modeling.backbone.csn.cuda import stem
from tubedet.modeling.backbone.csn.cuda.row_norm import AppliedNorm

EXACT = {"rtol": 1e-11, "atol": 1e-11}


@pytest.fixture(autouse=True)
def several_programs(monkeypatch, kernel_device):
    monkeypatch.setattr(stem, "_BLOCK_NUMBERS", 512)


def _channels_last(x):
    return x.permute(0, 2, 3, 4, 1).contiguous()


@pytest.mark.parametrize("size", [(2, 3, 12, 17), (1, 1, 9, 8)])
def test_convolution_as_one_of_windows(size, kernel_device):
    torch.manual_seed(0)
    options = {"dtype": torch.float64, "device": kernel_device}
    clips = torch.randn(size[0], 3, *size[1:], **options)
    weight = torch.randn(8, 3, 3, 7, 7, **options, requires_grad=True)
    expected = F.conv3d(clips, weight, None, (1, 2, 2), (1, 3, 3))
    upstream = torch.randn_like(expected)
    expected.backward(upstream)
    maps = stem.stem_maps(clips, stem.window_weight(weight.detach(), torch.float64))
    torch.testing.assert_close(maps, _channels_last(expected.detach()), **EXACT)
    d_weight = stem.stem_weight_gradient(_channels_last(upstream), clips)
    torch.testing.assert_close(d_weight, weight.grad, **EXACT)


@pytest.mark.parametrize("size", [(2, 3, 6, 9), (1, 1, 5, 4), (1, 2, 1, 1)])
def test_pooling_and_its_gradient(size, kernel_device):
    torch.manual_seed(0)
    x = torch.randn(size[0], 20, *size[1:], dtype=torch.float64, device=kernel_device)
    values = torch.randn(4, 20, dtype=torch.float64, device=kernel_device)
    scale, shift = values[:2].view(2, -1, 1, 1, 1)
    activated = (x * scale + shift).relu().requires_grad_()
    expected = F.max_pool3d(activated, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    upstream = torch.randn_like(expected)
    expected.backward(upstream)
    norm = AppliedNorm(values, of_batch=False)
    out, places = stem.pooled(_channels_last(x), norm, keep_places=True)
    torch.testing.assert_close(out, _channels_last(expected.detach()), **EXACT)
    assert stem.pooled(_channels_last(x), norm)[1] is None
    gradient = stem.pooling_gradient(_channels_last(upstream), places, size[2:])
    # Where the ReLU is zero its gradient is, so it does not matter which of the zeros is taken.
    positive = _channels_last(activated.detach()) > 0
    wanted = _channels_last(activated.grad) * positive
    torch.testing.assert_close(gradient * positive, wanted, **EXACT)
