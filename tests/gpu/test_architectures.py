"""Every architecture computes on a GPU what it does on the CPU.

Small differences grow in a network, in float32 more than errors that matter; float64 tells them
apart, and float32 has kernels of its own.
"""

import copy

import pytest
import torch
from small_detectors import (
    ARCHITECTURES,
    WITHOUT_DROPOUT,
    relative_difference,
    small_batch,
    small_config,
    small_detector,
)

from tubedet.engine import Trainer

pytestmark = pytest.mark.gpu

# Positions and boxes are float32 in a model of float64, too, and their sines are a GPU's own.
PRECISIONS = [(torch.float64, 1e-7), (torch.float32, 1e-3)]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("dtype, tolerance", PRECISIONS)
def test_detections_are_those_of_the_cpu(name, dtype, tolerance, device):
    cfg, model = small_detector(name)
    on_cpu, on_gpu = model.to(dtype), copy.deepcopy(model).to(device, dtype)
    batch = small_batch(cfg)
    with torch.no_grad():
        expected, found = on_cpu(batch), on_gpu(batch)
    for one, other in zip(found, expected, strict=True):
        one, other = one["instances"], other["instances"]
        assert one.scores.device.type == device.type and len(one) == len(other) > 0
        assert relative_difference(one.scores, other.scores) < tolerance
        if one.has("action_scores"):
            assert relative_difference(one.action_scores, other.action_scores) < tolerance
        # Pixels, in float32.
        boxes = one.pred_boxes.tensor.cpu(), other.pred_boxes.tensor
        torch.testing.assert_close(*boxes, rtol=0, atol=max(64 * tolerance, 1e-4))


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("dtype, tolerance", PRECISIONS)
def test_losses_and_gradients_are_those_of_the_cpu(name, dtype, tolerance, device):
    cfg, model = small_detector(name, opts=WITHOUT_DROPOUT)
    on_cpu = model.to(dtype).train()
    on_gpu = copy.deepcopy(model).to(device, dtype)
    batch = small_batch(cfg)
    expected, found = on_cpu(batch), on_gpu(batch)
    assert found.keys() == expected.keys()
    for key, loss in expected.items():
        assert found[key].item() == pytest.approx(loss.item(), rel=10 * tolerance, abs=tolerance)
    sum(expected.values()).backward()
    sum(found.values()).backward()
    without = [key for key, p in on_gpu.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    gradients = [
        torch.cat([p.grad.flatten().cpu() for p in some.parameters() if p.grad is not None])
        for some in (on_gpu, on_cpu)
    ]
    # Where a ReLU is near its edge, float32 decides by its rounding.
    assert relative_difference(*gradients) < (1e-5 if dtype == torch.float64 else 0.05)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_clips_without_persons_train(name, amp_dtype, device):
    torch.manual_seed(3)
    cfg = small_config(name, device=device)
    model = Trainer.build_model(cfg).train()
    with torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
        total = sum(model(small_batch(cfg, with_persons=False)).values())
    total.backward()
    assert torch.isfinite(total)
    gradients = {key: p.grad for key, p in model.named_parameters() if p.requires_grad}
    assert [key for key, gradient in gradients.items() if gradient is None] == []
    assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
