import pytest
import torch
from torch import nn

from tubedet.layers import (
    LayerNorm,
    PreciseLinear,
    as_autocast,
    precise_linear,
    without_autocast,
)


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


def test_a_precise_layer_has_the_parameters_of_a_linear_one():
    torch.manual_seed(0)
    plain = nn.Linear(8, 3)
    precise = PreciseLinear(8, 3)
    precise.load_state_dict(plain.state_dict())
    x = torch.randn(5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(precise(x), precise_linear(plain, x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_layer_norm_is_the_usual_one_without_autocast(dtype):
    torch.manual_seed(0)
    own, usual, x = LayerNorm(8).to(dtype), nn.LayerNorm(8).to(dtype), torch.randn(5, 8).to(dtype)
    assert torch.equal(own(x), usual(x)) and own.state_dict().keys() == usual.state_dict().keys()


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_a_layer_norm_under_autocast_gives_half_and_sums_in_float32(half):
    torch.manual_seed(0)
    norm, x = LayerNorm(4096), (torch.randn(3, 4096) * 200 + 300).to(half)  # squares up to 1e6
    expected = nn.functional.layer_norm(x.float(), (4096,))
    with torch.autocast("cpu", half):
        found = norm(x)
    assert found.dtype == half
    torch.testing.assert_close(found.float(), expected, rtol=8e-3, atol=8e-3)


def test_only_float32_is_cast_and_only_under_autocast():
    x = torch.randn(3)
    assert as_autocast(x) is x
    with torch.autocast("cpu", torch.bfloat16):
        assert as_autocast(x).dtype == torch.bfloat16
        assert as_autocast(x.double()).dtype == torch.float64
        assert as_autocast(x.long()).dtype == torch.int64
    meta = torch.empty(3, device="meta")
    assert as_autocast(meta) is meta


def test_layer_norm_without_weights_normalises_several_sides_together():
    x = torch.randn(5, 3, 4, dtype=torch.float64)
    norm = LayerNorm((3, 4), elementwise_affine=False)
    assert not norm.state_dict()
    flat = x.flatten(1)
    variance = flat.var(1, keepdim=True, correction=0)
    expected = (flat - flat.mean(1, keepdim=True)) / (variance + 1e-5).sqrt()
    torch.testing.assert_close(norm(x).flatten(1), expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(x.float()).dtype == torch.bfloat16
