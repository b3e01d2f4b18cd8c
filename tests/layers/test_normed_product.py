"""A product with a batch norm behind it, against autograd."""

import pytest
import torch
from torch import nn

from tubedet.layers import FrozenBatchNorm3d, row_norm
from tubedet.layers.normed_product import NormedProductGradients, products
from tubedet.layers.row_norm import Affine, NormStatistics, row_chunks

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
    normed = norm((rows @ matrix.t()).t().contiguous()[None, :, :, None, None])[0, :, :, 0, 0].t()
    grad = torch.randn_like(normed).contiguous()
    expected = torch.autograd.grad(normed, arguments, grad)
    with torch.no_grad():
        statistics = NormStatistics.of(norm, [rows @ matrix.t()])
        product = NormedProductGradients(matrix, statistics, norm.weight)
        d_rows = torch.empty_like(rows)
        for part, grad_part, result in row_chunks(rows, grad, d_rows):
            product.add(grad_part, part)
            torch.mm(grad_part, product.back, out=result)
        of_parameters = product.finish()
        for part, result in row_chunks(rows, d_rows):
            product.complete_(result, part)
    for ours, theirs in zip((d_rows, *of_parameters), expected):
        torch.testing.assert_close(ours, theirs, **EXACT)
