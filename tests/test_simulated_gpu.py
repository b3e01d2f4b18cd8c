"""The counts on which tests of speed stand."""

import pytest
import torch
from simulated_gpu import DEVICE, SimulatedGPU
from torch import nn


def _synchronisations(use):
    with SimulatedGPU() as gpu:
        x = torch.tensor([[1.0, -2.0], [3.0, -4.0]]).to(DEVICE)
        gpu.reset()
        use(x)
        return sum(gpu.synchronisations.values())


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).all()),
        lambda x: x.cpu(),
        lambda x: x[x > 0],
        lambda x: x.masked_fill(x > 0, 0).nonzero(),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x.repeat_interleave(x[0].abs().long(), dim=0),
    ],
)
def test_what_the_host_waits_for_is_counted_once(use):
    assert _synchronisations(use) == 1


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x @ x + 1,
        lambda x: x[torch.zeros(3, dtype=torch.int64, device=x.device)],
        lambda x: torch.where(x > 0, x, 0.5),
        lambda x: x.topk(1, dim=0).indices,
        lambda x: torch.arange(4, device=x.device),
        lambda x: x.new_zeros(3),
    ],
)
def test_what_runs_on_is_not_counted(use):
    assert _synchronisations(use) == 0


def test_selecting_by_a_mask_waits_backward_too():
    def use(x):
        x = x.requires_grad_()
        x[x > 0].sum().backward()
        assert x.grad.held.tolist() == [[1, 0], [1, 0]]

    assert _synchronisations(use) == 2


def test_results_are_those_of_the_cpu():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(5, 4)
    model(x).square().sum().backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    with SimulatedGPU() as gpu:
        model = gpu.move(model)
        model(x.to(DEVICE)).square().sum().backward()
        assert {p.device for p in model.parameters()} == {DEVICE}
        found = [p.grad.held for p in model.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(found, expected))


def test_autocast_casts_as_on_a_gpu():
    """Each weight once, whatever is not half already, and norms back to float32."""
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4))
    with SimulatedGPU() as gpu:
        model, x = gpu.move(model), torch.randn(5, 4).to(DEVICE)
        gpu.reset()
        with torch.autocast("cuda", torch.bfloat16):
            y = model(x)
            model(x)
        assert y.dtype == torch.bfloat16
        # Four weights; each time the input, that of the norm, and the norm's result.
        assert sum(gpu.casts.values()) == 4 + 2 * 3
        y.sum().backward()
        assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
    assert not torch.is_autocast_enabled("cuda")
