"""Norms of rows against the modules they stand for."""

import pytest
import torch
from torch import nn

from tubedet.layers import FrozenBatchNorm3d
from tubedet.modeling.backbone.csn import row_norm
from tubedet.modeling.backbone.csn.row_norm import (
    NormGradients,
    NormStatistics,
    relu_gradient,
    row_chunks,
)

EXACT = {"rtol": 0, "atol": 1e-12}
CHANNELS = 6
KINDS = ("training", "evaluation", "frozen")


@pytest.fixture(autouse=True)
def several_slices(monkeypatch):
    monkeypatch.setattr(row_norm, "_CHUNK_NUMBERS", 5 * CHANNELS)


def _norm(kind):
    torch.manual_seed(0)
    norm = nn.BatchNorm3d(CHANNELS, eps=1e-3).double()
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    if kind == "frozen":
        return FrozenBatchNorm3d.convert(norm).double().train()
    return norm.train(kind == "training")


def _rows(num_rows=23):
    return torch.randn(num_rows, CHANNELS, dtype=torch.float64) * 3 + 1


def _slices(rows):
    return (part for (part,) in row_chunks(rows))


def _by_module(norm, rows):
    # PyTorch 2.14 gets the gradient in evaluation mode wrong for a transposed, not copied, map.
    return norm(rows.t()[None, :, :, None, None].contiguous())[0, :, :, 0, 0].t()


@pytest.mark.parametrize("kind", KINDS)
def test_output_and_running_statistics_equal_the_module(kind):
    norm, twin, rows = _norm(kind), _norm(kind), _rows()
    before = rows.clone()
    for _ in range(2):
        statistics = NormStatistics.of(norm, _slices(rows))
        with torch.no_grad():
            expected = _by_module(twin, rows)
            affine = statistics.affine(norm.weight, norm.bias)
            out = affine.relu(rows)
        torch.testing.assert_close(rows * affine.scale + affine.shift, expected, **EXACT)
        torch.testing.assert_close(out, expected.relu(), **EXACT)
    assert statistics.of_batch == (kind == "training")
    state, expected = norm.state_dict(), twin.state_dict()
    assert state.keys() == expected.keys()
    for key in state:
        torch.testing.assert_close(state[key], expected[key], **EXACT)
    assert torch.equal(rows, before)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_those_of_the_module(kind):
    norm, rows = _norm(kind), _rows().requires_grad_()
    norm.weight.requires_grad_()  # buffers of a frozen norm
    norm.bias.requires_grad_()
    grad = torch.randn_like(rows)
    arguments = rows, norm.weight, norm.bias
    expected = torch.autograd.grad(_by_module(norm, rows), arguments, grad)
    with torch.no_grad():
        gradients = NormGradients(NormStatistics.of(norm, _slices(rows)), norm.weight)
        for part, grad_part in row_chunks(rows, grad):
            gradients.add(grad_part, part)
        for part, grad_part in row_chunks(rows, grad):
            gradients.apply_(grad_part, part)
    for ours, theirs in zip((grad, gradients.d_weight, gradients.d_bias), expected):
        torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_every_slice_is_asked_for_once(kind):
    seen = []
    rows = _rows()
    NormStatistics.of(_norm(kind), (seen.append(part) or part for part in _slices(rows)))
    assert torch.equal(torch.cat(seen), rows)


@pytest.mark.parametrize("given", ["input", "output"])
def test_gradient_of_a_relu(given):
    x = torch.tensor([-2.0, -0.0, 0.0, 3.0], requires_grad=True)
    grad = torch.tensor([1.0, 2.0, 3.0, 4.0])
    (expected,) = torch.autograd.grad(x.relu(), x, grad)
    known = {"input": x, "output": x.relu()}[given].detach()
    assert torch.equal(relu_gradient(grad, known, out=torch.empty(4)), expected)
    assert relu_gradient(grad, known, out=grad) is grad and torch.equal(grad, expected)


def test_one_row_has_no_statistics():
    norm = _norm("training")
    before = norm.running_var.clone()
    with pytest.raises(ValueError, match="more than one value"):
        NormStatistics.of(norm, [_rows(1)])
    assert torch.equal(norm.running_var, before)


def test_chunks_are_the_same_rows_of_all_tensors():
    a = torch.arange(12 * CHANNELS).view(12, CHANNELS)
    b = torch.arange(12)[:, None]
    parts = list(row_chunks(a, b))
    assert [len(rows) for rows, _ in parts] == [5, 5, 2]
    assert all(torch.equal(rows[:, 0], CHANNELS * others[:, 0]) for rows, others in parts)
    assert parts[1][0].data_ptr() == a[5].data_ptr()  # a view
    wide = torch.zeros(3, 100 * CHANNELS)
    assert [len(rows) for (rows,) in row_chunks(wide)] == [1, 1, 1]
