"""Batch norm by kernels against PyTorch's modules."""

import copy

import pytest
import torch

from tubedet.layers import FrozenBatchNorm3d

pytest.importorskip("triton")
from tubedet.modeling.backbone.csn.cuda import row_norm

EXACT = {"rtol": 1e-12, "atol": 1e-12}
# More rows than a block, and a last chunk that is not full; more channels than a block.
SIZES = [(700, 24), (2, 8), (37, 130)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch, kernel_device):
    monkeypatch.setattr(row_norm, "_BLOCK_NUMBERS", 1024)
    monkeypatch.setattr(row_norm, "_MAX_CHUNKS", 6)
    monkeypatch.setattr(row_norm, "_BLOCK_CHUNKS", 4)


def _norm(channels, device, dtype=torch.float64):
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm3d(channels, eps=1e-3)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm.to(device, dtype)


def _rows(num_rows, channels, device, dtype=torch.float64):
    torch.manual_seed(1)
    return (3 + 2 * torch.randn(num_rows, channels, dtype=torch.float64)).to(device, dtype)


def _by_module(norm, rows):
    """A norm of maps, applied to rows: as many clips of one cell."""
    return norm(rows[:, :, None, None, None])[:, :, 0, 0, 0]


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_forward_and_backward_equal_the_module(size, adds, kernel_device):
    norm, rows = _norm(size[1], kernel_device), _rows(*size, kernel_device)
    twin, x = copy.deepcopy(norm), rows.clone().requires_grad_()
    other = torch.randn_like(rows) if adds else None
    expected = (_by_module(twin, x) + (other if adds else 0)).relu()
    upstream = torch.randn_like(rows)
    expected.backward(upstream)

    applied = row_norm.AppliedNorm.of(norm, rows)
    out = applied.relu(rows, other=other)
    torch.testing.assert_close(out, expected.detach(), **EXACT)
    for name, buffer in norm.named_buffers():
        torch.testing.assert_close(buffer, dict(twin.named_buffers())[name], **EXACT)
    masked = torch.empty_like(upstream)
    activated = out if adds else None
    gradients = applied.gradients(upstream, rows, activated=activated, masked=masked)
    torch.testing.assert_close(masked, upstream * (expected > 0), **EXACT)
    torch.testing.assert_close(gradients.weight, twin.weight.grad, **EXACT)
    torch.testing.assert_close(gradients.bias, twin.bias.grad, **EXACT)
    of_rows = gradients.of_rows(masked, rows, out=masked)
    torch.testing.assert_close(of_rows, x.grad, **EXACT)


def test_what_is_added_may_have_a_norm(kernel_device):
    first, second = (_rows(50, 8, kernel_device) for _ in range(2))
    norms = [row_norm.AppliedNorm.of(_norm(8, kernel_device), rows) for rows in (first, second)]
    out = norms[0].relu(first, out=first.clone(), other=second, other_norm=norms[1])
    expected = sum(_by_module(_norm(8, kernel_device), rows) for rows in (first, second)).relu()
    torch.testing.assert_close(out, expected.detach(), **EXACT)


@pytest.mark.parametrize("kind", ["evaluation", "FrozenBN"])
def test_fixed_statistics(kind, kernel_device):
    norm = _norm(8, kernel_device).eval()
    torch.nn.init.uniform_(norm.running_var, 0.5, 2)
    if kind == "FrozenBN":
        norm = FrozenBatchNorm3d.convert(norm)
    before = {name: value.clone() for name, value in norm.named_buffers()}
    rows = _rows(20, 8, kernel_device)
    applied = row_norm.AppliedNorm.of(norm, rows)
    assert not applied.of_batch
    torch.testing.assert_close(applied.relu(rows), _by_module(norm, rows).relu(), **EXACT)
    assert all(torch.equal(value, before[name]) for name, value in norm.named_buffers())
    upstream = torch.randn_like(rows)
    gradients = applied.gradients(upstream, rows)  # without a ReLU
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    of_rows = gradients.of_rows(upstream, rows, out=torch.empty_like(rows))
    torch.testing.assert_close(of_rows, (upstream * scale).detach(), **EXACT)


def test_large_means_keep_their_digits(kernel_device):
    rows = (1e4 + torch.randn(600, 16, dtype=torch.float64)).to(kernel_device)
    norm, twin = (_norm(16, kernel_device, kind) for kind in (torch.float32, torch.float64))
    applied = row_norm.AppliedNorm.of(norm, rows.float())
    row_norm.AppliedNorm.of(twin, rows.float().double())
    torch.testing.assert_close(norm.running_var.double(), twin.running_var, rtol=1e-5, atol=0)
    assert applied.values.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_once(dtype, kernel_device):
    rows = _rows(300, 24, kernel_device, dtype)
    out = row_norm.AppliedNorm.of(_norm(24, kernel_device, torch.float32), rows).relu(rows)
    assert out.dtype == dtype
    expected = _by_module(_norm(24, kernel_device), rows.double()).relu().detach()
    step = torch.finfo(dtype).eps  # Triton's interpreter cuts digits off instead of rounding
    torch.testing.assert_close(out.double(), expected, rtol=step, atol=1e-5)


def test_statistics_of_one_row_are_refused(kernel_device):
    with pytest.raises(ValueError, match="more than one value per channel"):
        row_norm.AppliedNorm.of(_norm(8, kernel_device), _rows(1, 8, kernel_device))
