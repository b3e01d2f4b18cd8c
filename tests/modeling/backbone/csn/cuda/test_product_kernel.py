"""Matrix products with bias, residual and ReLU against PyTorch's operators."""

import pytest
import torch

pytest.importorskip("triton")
from tubedet.modeling.backbone.csn.cuda.product_kernel import relu_of_product_sum


# Triton's interpreter multiplies no bfloat16 matrices.
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("num_rows, channels, num_out", [(300, 64, 256), (100, 24, 72), (5, 70, 8)])
def test_products(num_rows, channels, num_out, dtype, kernel_device, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    sizes = ((num_rows, channels), (channels, num_out), (num_out,), (num_rows, num_out))
    a, b, bias, other = (torch.randn(size).to(kernel_device, dtype) for size in sizes)
    before = other.clone()
    out = relu_of_product_sum(a, b, bias, other)
    assert out.dtype == dtype
    expected = (a.double() @ b.double() + bias.double() + other.double()).relu()
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(out.double(), expected, rtol=step, atol=100 * min(step, 1e-7))
    assert torch.equal(other, before)
