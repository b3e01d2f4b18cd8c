"""Training by kernels in half precision; in float64 see ``test_fused_training.py``."""

import copy

import pytest
import torch
from random_norms import with_random_norms

pytest.importorskip("triton")
from tubedet.modeling.backbone.csn.csn import Bottleneck, Stem
from tubedet.modeling.backbone.csn.cuda import launching

# Of relative norms. Near the edge of a ReLU a gradient is there or not, hence the size; Triton's
# interpreter cuts the digits of bfloat16 off instead of rounding.
MOST_ERROR = {torch.bfloat16: 0.15, torch.float16: 0.015}


def _results(part, x, dtype):
    """Output and gradients of a part under autocast."""
    out = part(x)
    assert out.dtype == dtype
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(2)).to(out)
    gradients = torch.autograd.grad(out, [*part.parameters(), *[x][: x.requires_grad]], upstream)
    names = [*dict(part.named_parameters()), "x"]
    return {"out": out.detach(), **dict(zip(names, gradients))}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["plain", "strided", "stem"])
def test_half_precision_is_near_float64(kind, dtype, kernel_device):
    torch.manual_seed(0)
    how = {"norm": "BN", "execution": "fused", "triton": True}
    if kind == "stem":
        part, size = Stem(8, **how), (2, 3, 3, 20, 22)
    else:
        strided = kind == "strided"
        stride = (2, 2, 2) if strided else (1, 1, 1)
        part, size = Bottleneck(32, 8, stride, strided, **how), (2, 32, 4, 6, 6)
    part = with_random_norms(part).train().to(kernel_device)
    x = torch.randn(size, device=kernel_device, requires_grad=kind != "stem")
    twin = copy.deepcopy(part).double()
    exact = _results(twin, x.detach().double().requires_grad_(x.requires_grad), torch.float64)
    with torch.autocast(kernel_device, dtype):
        results = _results(part, x, dtype)
    assert results.keys() == exact.keys()
    for name, value in exact.items():
        if name not in ("out", "x"):
            assert results[name].dtype == torch.float32, name
        error = (results[name].double() - value).norm() / value.norm()
        assert error < MOST_ERROR[dtype], (name, error)
    for name, buffer in part.named_buffers():
        expected = dict(twin.named_buffers())[name]
        torch.testing.assert_close(buffer.double(), expected.double(), rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_gradients_of_weights_are_rounded_once(dtype):
    a, b = torch.randn(5, 300).bfloat16(), torch.randn(300, 7).bfloat16()
    product = launching.weight_gradient(a, b, dtype)
    assert product.dtype == dtype
    step = torch.finfo(dtype).eps
    expected = a.double() @ b.double()
    torch.testing.assert_close(product.double(), expected, rtol=step, atol=1e-4)
