"""How often a training step waits for the GPU, which has nothing to do in the meantime."""

import pytest
import torch
from benchmarking.gpu_counts import synchronisations
from detectron2.utils.events import EventStorage
from small_detectors import ARCHITECTURES, small_batch, small_config

from tubedet.engine import Trainer
from tubedet.engine.optimizer import build_optimizer
from tubedet.engine.step_trainer import StepTrainer

pytestmark = pytest.mark.gpu

# The costs of all matchings, the losses that are written down, and one to spare.
MOST = 3


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_training_step_hardly_waits(name, amp_dtype, device):
    torch.manual_seed(3)
    cfg = small_config(name, device=device)
    model = Trainer.build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)
    batches = [small_batch(cfg, 4)] * 3
    options = {"device_type": device.type, "amp_dtype": amp_dtype, "max_grad_norm": 1.0}
    trainer = StepTrainer(model, batches, optimizer, **options)
    with EventStorage(0) as storage:
        for trainer.iter in range(2):  # memory, kernels and the optimiser's state are prepared
            storage.iter = trainer.iter
            trainer.run_step()
        if device.type == "cpu":
            trainer.run_step()
            pytest.skip("only CUDA tells of waits")
        places = synchronisations(trainer.run_step)
    assert sum(places.values()) <= MOST, places
