"""The depthwise convolution by kernels against PyTorch's."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("triton")
from tubedet.modeling.backbone.csn.cuda import depthwise as by_kernels
from tubedet.modeling.backbone.csn.cuda.row_norm import AppliedNorm

EXACT = {"rtol": 1e-12, "atol": 1e-12}
# (B, C, T, H, W), stride
CASES = [
    ((2, 20, 3, 4, 5), (1, 1, 1)),
    ((1, 8, 1, 1, 1), (1, 1, 1)),
    ((1, 8, 11, 2, 3), (1, 1, 1)),
    ((1, 72, 2, 3, 3), (1, 1, 1)),
    ((1, 8, 4, 6, 9), (2, 2, 2)),
    ((1, 8, 5, 5, 6), (1, 2, 2)),
    ((2, 8, 3, 4, 4), (2, 1, 1)),
    ((1, 8, 9, 3, 3), (4, 1, 1)),
]


@pytest.fixture(autouse=True)
def several_programs(monkeypatch, kernel_device):
    monkeypatch.setattr(by_kernels, "_BLOCK_NUMBERS", 512)
    monkeypatch.setattr(by_kernels, "_BLOCK_NUMBERS_OF_WEIGHTS", 256)
    monkeypatch.setattr(by_kernels, "MANY_PROGRAMS", 12)


def _channels_last(x):
    return x.permute(0, 2, 3, 4, 1).contiguous()


@pytest.mark.parametrize("norms", [False, True])
@pytest.mark.parametrize("size, stride", CASES)
def test_forward_and_backward(size, stride, norms, kernel_device):
    torch.manual_seed(0)
    options = {"dtype": torch.float64, "device": kernel_device}
    channels = size[1]
    x = torch.randn(size, **options)
    weight = torch.randn(channels, 1, 3, 3, 3, **options, requires_grad=True)
    values = torch.randn(4, channels, **options)
    norm = AppliedNorm(values, of_batch=False) if norms else None
    seen = x
    if norms:
        scale, shift = values[:2].view(2, -1, 1, 1, 1)
        seen = (x * scale + shift).relu()
    seen = seen.requires_grad_()
    expected = F.conv3d(seen, weight, None, stride, 1, 1, channels)
    upstream = torch.randn_like(expected)
    expected.backward(upstream)

    maps, taps = _channels_last(x.detach()), by_kernels.taps_by_channel(weight.detach(), x.dtype)
    out = by_kernels.depthwise(maps, taps, stride, norm=norm)
    torch.testing.assert_close(out, _channels_last(expected.detach()), **EXACT)
    bias = torch.randn(channels, **options)
    out = by_kernels.depthwise(maps, taps, stride, norm=norm, bias=bias)
    with_bias = (expected + bias.view(-1, 1, 1, 1)).relu().detach()
    torch.testing.assert_close(out, _channels_last(with_bias), **EXACT)
    grad = _channels_last(upstream)
    d_maps = by_kernels.depthwise_input_gradient(grad, taps, stride, size[2:])
    torch.testing.assert_close(d_maps, _channels_last(seen.grad), **EXACT)
    d_weight = by_kernels.depthwise_weight_gradient(grad, maps, stride, norm=norm)
    torch.testing.assert_close(d_weight, weight.grad, **EXACT)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_once(dtype, kernel_device):
    torch.manual_seed(0)
    maps = torch.randn(1, 3, 4, 5, 8).to(kernel_device, dtype)
    weight = torch.randn(8, 1, 3, 3, 3, device=kernel_device)
    taps = by_kernels.taps_by_channel(weight, dtype)
    out = by_kernels.depthwise(maps, taps, (1, 1, 1))
    assert out.dtype == dtype
    x = maps.double().permute(0, 4, 1, 2, 3)
    expected = _channels_last(F.conv3d(x, weight.to(dtype).double(), None, 1, 1, 1, 8))
    step = torch.finfo(dtype).eps  # Triton's interpreter cuts digits off instead of rounding
    torch.testing.assert_close(out.double(), expected, rtol=step, atol=1e-5)
    d_weight = by_kernels.depthwise_weight_gradient(out, maps, (1, 1, 1))
    assert d_weight.dtype == torch.float32
