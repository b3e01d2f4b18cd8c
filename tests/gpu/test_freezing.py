"""Fine-tuning as the README shows it: a frozen backbone under heads that train."""

import pytest
import torch
from short_training import run_steps
from small_detectors import ARCHITECTURES, small_batch, small_config

from tubedet.engine import Trainer
from tubedet.engine.optimizer import build_optimizer
from tubedet.layers import FrozenBatchNorm3d

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_frozen_backbone_stays_and_the_rest_trains(name, device):
    torch.manual_seed(3)
    cfg = small_config(name, ["MODEL.FREEZE", ["backbone.*"]], device)
    model = Trainer.build_model(cfg).train()
    assert any(isinstance(module, FrozenBatchNorm3d) for module in model.backbone.modules())
    tensors = [*model.parameters(), *model.buffers()]
    assert {x.device.type for x in tensors} == {device.type}
    before = {key: x.clone() for key, x in model.state_dict().items()}
    optimizer = build_optimizer(cfg, model)
    run_steps(model, [small_batch(cfg)] * 2, optimizer, amp_dtype=torch.bfloat16)
    changed = {key for key, x in model.state_dict().items() if not torch.equal(x, before[key])}
    assert not any(key.startswith("backbone.") for key in changed)
    trained = {key for key, p in model.named_parameters() if p.requires_grad}
    assert len(trained & changed) > 0.9 * len(trained) > 0
