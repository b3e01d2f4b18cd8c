"""Training in half precision, and what stays in float32 there."""

import pytest
import torch
from short_training import run_steps
from small_detectors import ARCHITECTURES, QUERY_DETECTORS, small_batch, small_config

from tubedet.engine import Trainer
from tubedet.engine.optimizer import build_optimizer
from tubedet.modeling.heads import BoxHead
from tubedet.modeling.matcher import HungarianMatcher

pytestmark = pytest.mark.gpu

# The loss scale starts at 65536; each step in which a gradient overflows halves it. Gradients of
# some untrained models need it below 100, so that a dozen steps are skipped.
STEPS = 24


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_trains(name, amp_dtype, device):
    torch.manual_seed(3)
    cfg = small_config(name, device=device)
    model = Trainer.build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    batches = [small_batch(cfg, 4)] * STEPS
    options = {"amp_dtype": amp_dtype, "max_grad_norm": 1.0, "clips_per_pass": 2}
    trainer = run_steps(model, batches, optimizer, **options)
    after = dict(model.named_parameters())
    assert all(torch.isfinite(p).all() for p in after.values())
    trained = [key for key, p in after.items() if p.requires_grad]
    moved = [key for key in trained if not torch.equal(after[key], before[key])]
    assert len(moved) > 0.9 * len(trained), sorted(set(trained) - set(moved))
    steps = max(state["step"].item() for state in optimizer.state.values())
    if trainer.grad_scaler.is_enabled():
        assert steps >= STEPS / 3, f"the loss scale fell to {trainer.grad_scaler.get_scale()}"
    else:
        assert steps == STEPS


@pytest.mark.parametrize("clip_type", ["full_model", "norm", "value"])
def test_clipping_does_not_depend_on_the_loss_scale(clip_type, device):
    clipping = ["ENABLED", True, "CLIP_TYPE", clip_type, "CLIP_VALUE", 0.1]
    opts = [f"SOLVER.CLIP_GRADIENTS.{x}" if i % 2 == 0 else x for i, x in enumerate(clipping)]
    opts += ["MODEL.TUBER.DROPOUT", 0.0, "MODEL.TUBER.ACTION_DROPOUT", 0.0]
    averages = []
    for scale in (1.0, 1024.0):  # float32, in which nothing but the scale differs
        torch.manual_seed(3)
        cfg = small_config("TubeR", opts, device)
        model = Trainer.build_model(cfg).train()
        optimizer = build_optimizer(cfg, model)
        max_norm = 0.1 if clip_type == "full_model" else None
        scaler = torch.amp.GradScaler(device.type, init_scale=scale)
        run_steps(model, [small_batch(cfg)], optimizer, max_grad_norm=max_norm, grad_scaler=scaler)
        # AdamW's first step hides a factor of all gradients, its average does not.
        states = [optimizer.state[p]["exp_avg"] for p in model.parameters()]
        averages.append(torch.cat([state.flatten() for state in states]))
    assert averages[0].any()
    ratio = (averages[1].norm() / averages[0].norm()).item()
    assert ratio == pytest.approx(1, abs=0.02)


def test_boxes_are_finer_than_a_pixel(amp_dtype, device):
    torch.manual_seed(0)
    head = BoxHead(64).to(device)
    x = torch.randn(20_000, 64, device=device)
    with torch.no_grad(), torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None):
        boxes = head(x)
    assert boxes.dtype == torch.float32
    values = boxes[..., 0].unique()
    values = values[values > 0.5]
    assert len(values) > 1000
    assert values.diff().min() * 1920 < 0.01


@pytest.mark.parametrize("name", QUERY_DETECTORS)
def test_matching_costs_are_float32(name, device, monkeypatch):
    seen = set()
    assign = HungarianMatcher.assign

    def keep_dtypes(matcher, costs, counts):
        seen.update(cost.dtype for cost in costs)
        return assign(matcher, costs, counts)

    monkeypatch.setattr(HungarianMatcher, "assign", keep_dtypes)
    cfg = small_config(name, device=device)
    model = Trainer.build_model(cfg).train()
    with torch.autocast(device.type, torch.bfloat16):
        model(small_batch(cfg))
    assert seen == {torch.float32}
