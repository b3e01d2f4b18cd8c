"""A product with a batch norm behind it, against autograd."""

import pytest
import torch
from torch import nn

from tubedet.layers import FrozenBatchNorm3d
from tubedet.modeling.backbone.csn import row_norm
from tubedet.modeling.backbone.csn.normed_product import NormedProductGradients, products
from tubedet.modeling.backbone.csn.row_norm import Affine, NormStatistics, row_chunks

EXACT = {"rtol": 0, "atol": 1e-12}
NUM_ROWS, NUM_IN, NUM_OUT = 23, 5, 7


@pytest.fixture(autouse=True)
def several_slices(monkeypatch):
    monkeypatch.setattr(row_norm, "_CHUNK_NUMBERS", 4 * NUM_OUT)


def _case():
    torch.manual_seed(0)
    rows = torch.randn(NUM_ROWS, NUM_IN, dtype=torch.float64) + 1
    return rows, torch.randn(NUM_OUT, NUM_IN, dtype=torch.float64)


def test_products_come_in_slices_and_stay():
    rows, matrix = _case()
    out = rows.new_empty(NUM_ROWS, NUM_OUT)
    slices = list(products(rows, matrix, out=out))
    assert [len(part) for part in slices] == [4, 4, 4, 4, 4, 3]
    assert all(part.data_ptr() == out[4 * i].data_ptr() for i, part in enumerate(slices))
    torch.testing.assert_close(out, rows @ matrix.t(), **EXACT)


def test_products_of_normed_rows():
    rows, matrix = _case()
    before, out = rows.clone(), rows.new_empty(NUM_ROWS, NUM_OUT)
    norm = Affine(torch.linspace(-1, 2, NUM_IN).double(), torch.linspace(0.5, -1, NUM_IN).double())
    list(products(rows, matrix, out=out, norm=norm))
    expected = (rows * norm.scale + norm.shift).relu() @ matrix.t()
    torch.testing.assert_close(out, expected, **EXACT)
    assert torch.equal(rows, before)


@pytest.mark.parametrize("kind", ["training", "evaluation", "frozen"])
def test_gradients_equal_those_of_the_modules(kind):
    rows, matrix = _case()
    norm = nn.BatchNorm3d(NUM_OUT, eps=1e-3)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    norm = (FrozenBatchNorm3d.convert(norm) if kind == "frozen" else norm).double()
    norm.train(kind == "training")
    arguments = [x.requires_grad_() for x in (rows, matrix, norm.weight, norm.bias)]
    normed = _by_module(norm, rows @ matrix.t())
    grad = torch.randn_like(normed).contiguous()
    expected = torch.autograd.grad(normed, arguments, grad)
    with torch.no_grad():
        statistics = NormStatistics.of(norm, [rows @ matrix.t()])
    for ours, theirs in zip(_gradients(rows, matrix, norm, grad, statistics), expected):
        torch.testing.assert_close(ours, theirs, **EXACT)


@pytest.mark.parametrize("matrix_sees_the_mean", [True, False])
@pytest.mark.parametrize("mean", [0, 30])
def test_digits_lost_are_no_more_than_by_the_modules(mean, matrix_sees_the_mean, monkeypatch):
    """Channels that are nearly always on have means far above their standard deviations."""
    monkeypatch.setattr(row_norm, "_CHUNK_NUMBERS", 1 << 13)
    torch.manual_seed(0)
    rows, matrix = torch.randn(4000, 16) + mean, torch.randn(32, 16)
    if not matrix_sees_the_mean:
        matrix -= matrix.mean(1, keepdim=True)
    norm = nn.BatchNorm3d(32)
    upstream = torch.randn(4000, 32) + _by_module(norm, rows @ matrix.t()).detach()
    exact = _d_matrix_by_module(rows.double(), matrix.double(), norm.double(), upstream.double())
    plain = _d_matrix_by_module(rows, matrix, norm.float(), upstream)
    statistics = NormStatistics.of(norm.double(), [rows.double() @ matrix.double().t()])
    statistics = NormStatistics(*(value.float() for value in statistics[:2]), True)
    ours = _gradients(rows, matrix, norm.float(), upstream, statistics)[1]
    error, error_of_plain = ((d.double() - exact).norm() / exact.norm() for d in (ours, plain))
    assert error < 3 * error_of_plain  # up to 1.9 times with other random numbers


def _by_module(norm, products):
    return norm(products.t().contiguous()[None, :, :, None, None])[0, :, :, 0, 0].t()


def _d_matrix_by_module(rows, matrix, norm, upstream):
    matrix = matrix.clone().requires_grad_()
    return torch.autograd.grad(_by_module(norm, rows @ matrix.t()), matrix, upstream)[0]


@torch.no_grad()
def _gradients(rows, matrix, norm, grad, statistics):
    """Of rows, matrix, and weight and bias of the norm."""
    product = NormedProductGradients(matrix, statistics, norm.weight)
    d_rows = torch.empty_like(rows)
    for part, grad_part, result in row_chunks(rows, grad, d_rows):
        product.add(grad_part, part)
        torch.mm(grad_part, product.direct, out=result)
    of_parameters = product.finish()
    for part, result in row_chunks(rows, d_rows):
        product.complete_(result, part)
    return d_rows, *of_parameters
