import pytest
import torch
from torch import nn

from tubedet.layers import precise_linear, without_autocast


@pytest.mark.parametrize("bias", [True, False])
def test_a_precise_linear_layer_is_float32_under_autocast(bias):
    torch.manual_seed(0)
    layer, x = nn.Linear(8, 3, bias=bias), torch.randn(2, 5, 8)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        found = precise_linear(layer, x)
        assert torch.is_autocast_enabled("cpu")
    assert torch.equal(found, expected) and torch.equal(precise_linear(layer, x), expected)


@pytest.mark.parametrize(
    "dtype, expected",
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64,) * 2],
)
def test_it_is_at_least_float32(dtype, expected):
    layer, x = nn.Linear(8, 3).to(dtype), torch.randn(5, 8, dtype=dtype)
    assert precise_linear(layer, x).dtype == expected


def test_gradients_have_the_precision_of_the_parameters():
    layer, x = nn.Linear(8, 3).bfloat16(), torch.randn(5, 8).bfloat16().requires_grad_()
    precise_linear(layer, x).sum().backward()
    assert layer.weight.grad.dtype == x.grad.dtype == torch.bfloat16


def test_a_device_without_autocast_needs_none():
    layer = nn.Linear(8, 3, device="meta", dtype=torch.bfloat16)
    found = precise_linear(layer, torch.empty(5, 8, device="meta", dtype=torch.bfloat16))
    assert (found.device.type, found.dtype, found.shape) == ("meta", torch.float32, (5, 3))


def test_operators_within_run_in_the_precision_of_their_arguments():
    x = torch.randn(3, 3)
    with torch.autocast("cpu", torch.bfloat16), without_autocast(x.device):
        assert (x @ x).dtype == torch.float32
    with without_autocast(x.device):
        assert (x @ x).dtype == torch.float32
