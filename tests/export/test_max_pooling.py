"""Max pooling of maps with free sides."""

import pytest
import torch
from torch import nn
from torch.export import Dim, export

from tubedet.export.max_pooling import AnySizeMaxPool3d, pool_any_size

POOLS = {
    "stem": nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    "plain": nn.MaxPool3d(2),
    "dilated": nn.MaxPool3d((1, 3, 2), (1, 2, 1), (0, 1, 1), (1, 2, 1)),
}


def ask_for_the_remainder(x, y):
    """The rule of PyTorch before 2.13 by which a pooling's output shape is stated."""
    quotient, remainder = x // y, x % y
    if remainder != 0 and (bool(remainder < 0) != bool(y < 0)):
        quotient -= 1
    return quotient


@pytest.mark.parametrize("name", POOLS)
def test_every_size_gives_what_the_pooling_does(name, monkeypatch):
    monkeypatch.setattr(torch._meta_registrations, "div_rtn", ask_for_the_remainder)
    pool = POOLS[name]
    sides = {axis: Dim(f"side{axis}", min=6, max=99) for axis in (3, 4)}
    example = torch.zeros(1, 2, 4, 12, 10)
    any_size = export(
        AnySizeMaxPool3d(pool), (example,), dynamic_shapes=(sides,), strict=False
    ).module()
    with pytest.raises(Exception, match="Constraints violated"):
        export(pool, (example,), dynamic_shapes=(sides,), strict=False)
    generator = torch.Generator().manual_seed(0)
    for height in range(7, 12):
        for width in range(7, 12):
            # Below zero: the margin must lose against every value.
            x = -1 - torch.rand(1, 2, 4, height, width, generator=generator)
            assert torch.equal(any_size(x), pool(x))


def test_fixed_sides_are_not_padded():
    program = export(AnySizeMaxPool3d(POOLS["stem"]), (torch.zeros(1, 2, 4, 12, 10),))
    called = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
    assert called == ["aten.max_pool3d.default"]


def test_poolings_with_other_results_are_left():
    kept = [nn.MaxPool3d(2, ceil_mode=True), nn.MaxPool3d(2, return_indices=True)]
    model = nn.Sequential(nn.Sequential(nn.MaxPool3d(2, 2)), *kept)
    pool_any_size(model)
    assert type(model[0][0]) is AnySizeMaxPool3d and model[0][0].kernel_size == (2, 2, 2)
    assert list(model[1:]) == kept
