"""What operators do, from expressions whose operators are known."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from benchmarking.operator_counts import Counts, OperatorCounts


def counted(function):
    with OperatorCounts() as operators:
        function()
    return operators.counts


def test_bytes_are_those_read_and_written():
    x, y = torch.zeros(4, 8), torch.zeros(4, 8)
    assert counted(lambda: x + y) == Counts(operators=1, gbytes=3 * 128 / 1e9)
    assert counted(lambda: x * x) == Counts(operators=1, gbytes=2 * 128 / 1e9)
    assert counted(lambda: x.add_(1)) == Counts(operators=1, gbytes=2 * 128 / 1e9)
    # What is overwritten is not read, and what is expanded is read once.
    assert counted(x.zero_) == Counts(operators=1, gbytes=128 / 1e9)
    assert counted(lambda: x.copy_(y)) == Counts(operators=1, gbytes=2 * 128 / 1e9)
    assert counted(lambda: x + y[:1, :1].expand(4, 8)).gbytes == pytest.approx(3 * 128 / 1e9)
    row = torch.zeros(8)
    assert counted(lambda: x + row.expand(4, 8)) == Counts(operators=1, gbytes=(256 + 32) / 1e9)


def test_views_and_allocations_are_free():
    x = torch.zeros(4, 8)
    views = counted(lambda: (x.t(), x[1:], x.view(32), x.detach(), x.reshape(8, 4), x.chunk(2)))
    assert views == Counts()
    assert counted(lambda: (torch.empty(9), torch.empty_like(x))) == Counts()
    assert counted(lambda: x.t().contiguous()).operators == 1


def test_casts():
    x = torch.zeros(4, 8)
    assert counted(lambda: x.float()) == Counts()
    assert counted(lambda: (x.double(), x.half(), x.clone())).casts == 2
    assert counted(lambda: torch.zeros(4, 8, dtype=torch.float16).copy_(x)).casts == 1


@pytest.mark.parametrize("mode", [nullcontext, torch.no_grad, torch.inference_mode])
def test_a_linear_layer_under_autocast(mode):
    layer, x = torch.nn.Linear(8, 3), torch.zeros(4, 8)
    with mode(), torch.autocast("cpu", torch.bfloat16):
        counts = counted(lambda: layer(x))
    # Input, weight and bias become bfloat16; one product adds the bias.
    assert (counts.operators, counts.casts) == (4, 3)
    in_and_out = 2 * (8 * 3 + 3 + 4 * 8) + 2 * 4 * 3
    assert counts.gbytes == pytest.approx(((4 + 2) * (8 * 3 + 3 + 4 * 8) + in_and_out) / 1e9)


def test_the_backward_pass_counts_too():
    layer, x = torch.nn.Linear(8, 3), torch.zeros(4, 8)
    forward = counted(lambda: layer(x).sum())
    assert forward.operators == 2
    # The weight's gradient is a product, the bias's a sum over rows of the expanded gradient.
    assert counted(lambda: layer(x).sum().backward()).operators == 2 + 1 + 2


def test_what_the_cpu_waits_for():
    x, mask = torch.arange(4.0), torch.tensor([True, False, True, True])
    index = torch.tensor([0, 1])
    for function in (
        x.sum().item,
        mask.nonzero,
        lambda: x[mask],
        lambda: x.masked_select(mask),
        lambda: bool(mask.all()),
        lambda: x.unique(),
        lambda: x.clone().index_put_((mask,), torch.tensor(1.0)),
    ):
        assert counted(function).waits == 1
    for function in (
        lambda: x[index],
        lambda: x[1:3] * 2,
        lambda: torch.where(mask, x, 0),
        lambda: mask.clone().index_put_((index,), mask[:2]),
        lambda: F.relu(x),
    ):
        assert counted(function).waits == 0


def test_copies_between_host_and_device():
    x, there = torch.zeros(4), torch.zeros(4, device="meta")
    to_device = counted(lambda: x.to("meta"))
    assert (to_device.device_copies, to_device.waits, to_device.casts) == (1, 0, 0)
    to_device = counted(lambda: there.copy_(x.half()))
    assert (to_device.device_copies, to_device.waits, to_device.casts) == (1, 0, 2)
