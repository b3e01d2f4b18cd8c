"""Steps that are replayed from CUDA graphs are those of the model."""

import copy

import pytest
import torch
from short_training import run_steps
from small_detectors import (
    ARCHITECTURES,
    WITHOUT_DROPOUT,
    relative_difference,
    small_batch,
    small_config,
)

from tubedet.engine import Trainer
from tubedet.engine.optimizer import build_optimizer
from tubedet.modeling.half_weights import HalfWeights

pytestmark = pytest.mark.gpu

WAYS = {
    "modules": ["MODEL.CSN.TRITON", False],
    "triton": [],
    "deformable": ["MODEL.DEFORMABLE_TRITON", True],
}


@pytest.fixture
def gpu(device):
    """The GPU; the CPU has no graphs."""
    if device.type == "cpu":
        pytest.skip("graphs are those of a GPU")
    return device


def batches_of(cfg, number):
    """Batches of one size, of other pixels each."""
    batches = [small_batch(cfg, 2) for _ in range(number)]
    for step, batch in enumerate(batches):
        for item in batch:
            item["clip"] = item["clip"].roll(step, dims=-1)
    return batches


def gradients_of(model, batch, dtype):
    model.zero_grad()
    with torch.autocast("cuda", dtype, enabled=dtype is not None):
        losses = model(batch) if dtype is None else HalfWeights(model).call(dtype, batch)
    sum(losses.values()).backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return torch.stack(list(losses.values())), torch.cat(gradients).cpu()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_are_those_of_the_model(name, way, dtype, gpu):
    torch.manual_seed(3)
    cfg = small_config(name, [*WITHOUT_DROPOUT, *WAYS[way], "SOLVER.CUDA_GRAPHS", True], gpu)
    recorded = Trainer.build_model(cfg).train()
    model = copy.deepcopy(recorded)
    model._recorded_training = None
    tolerance = 1e-3 if dtype is None else 0.1
    for batch in batches_of(cfg, 5):
        found, expected = (gradients_of(some, batch, dtype) for some in (recorded, model))
        assert relative_difference(found[0], expected[0].cpu()) < tolerance
        assert relative_difference(found[1], expected[1]) < tolerance
    assert recorded._recorded_training.passes == 3
    for one, two in zip(recorded.buffers(), model.buffers()):  # each batch was met once
        torch.testing.assert_close(one, two, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_recorded_steps_train(name, amp_dtype, gpu):
    torch.manual_seed(3)
    cfg = small_config(name, ["SOLVER.CUDA_GRAPHS", True], gpu)
    model = Trainer.build_model(cfg).train()
    batches = [batches_of(cfg, 1)[0]] * 24
    options = {"amp_dtype": amp_dtype, "max_grad_norm": 1.0, "clips_per_pass": 1}
    run_steps(model, batches, build_optimizer(cfg, model), **options)
    assert model._recorded_training.passes == 46
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("name", ["TubeR", "D2"])
def test_recorded_steps_exchange_gradients(name, gpu, exchanging):
    torch.manual_seed(3)
    cfg = small_config(name, ["SOLVER.CUDA_GRAPHS", True], gpu)
    model = Trainer.build_model(cfg).train()
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    optimizer = build_optimizer(cfg, model)
    batches, options = batches_of(cfg, 6), {"amp_dtype": torch.bfloat16}
    run_steps(exchanging(model), batches, optimizer, **options)
    assert model._recorded_training.passes == 4
    moved = [key for key, p in model.named_parameters() if not torch.equal(p, before[key])]
    assert len(moved) > 0.9 * len(before)
