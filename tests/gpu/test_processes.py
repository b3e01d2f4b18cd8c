"""Gradients that processes exchange: a group of one process, with NCCL on a GPU."""

import copy

import pytest
import torch
from short_training import run_steps
from small_detectors import ARCHITECTURES, small_batch, small_config

from tubedet.engine import Trainer
from tubedet.engine.optimizer import build_optimizer

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("process_group")]

CHECKPOINTED = ["MODEL.CSN.EXECUTION", "checkpointed"]
SYNCHRONISED = ["MODEL.CSN.NORM", "SyncBN", "MODEL.DEFORMABLE_TUBER.COLLAPSE_NORM", "SyncBN"]
CASES = [
    *((name, []) for name in ARCHITECTURES),
    ("TubeR", CHECKPOINTED),
    ("D2", CHECKPOINTED),
    ("TubeR", SYNCHRONISED),
    ("D2", [*SYNCHRONISED, *CHECKPOINTED]),
    ("TubeR", ["MODEL.BACKBONE.FREEZE_AT", 3]),
    ("TubeR", ["MODEL.FREEZE", ["backbone.*"]]),
    ("TubeR", ["MODEL.CRITERION.AUX_LOSS", False]),
    ("SeqFormer", ["MODEL.EXCLUSIVE_ACTIONS", True]),
    ("D3", ["MODEL.EXCLUSIVE_ACTIONS", True]),
    ("D4", ["MODEL.PERSON_ONLY", True]),
    ("SparseRCNN", ["MODEL.PERSON_ONLY", True]),
]


@pytest.mark.parametrize("name, opts", CASES)
def test_it_trains_with_and_without_persons(name, opts, device, exchanging):
    if device.type == "cpu" and "SyncBN" in opts:
        pytest.skip("SyncBN needs a GPU")
    torch.manual_seed(3)
    cfg = small_config(name, opts, device)
    model = Trainer.build_model(cfg).train()
    wrapped, optimizer = exchanging(model), build_optimizer(cfg, model)
    before = copy.deepcopy(model.state_dict())
    batches = [small_batch(cfg, 4), small_batch(cfg, 4, with_persons=False), small_batch(cfg, 4)]
    options = {"amp_dtype": torch.bfloat16, "max_grad_norm": 1.0, "clips_per_pass": 2}
    run_steps(wrapped, batches, optimizer, **options)
    for buffer in model.buffers():  # as before an evaluation
        torch.distributed.broadcast(buffer, 0)
    changed = {key for key, x in model.state_dict().items() if not torch.equal(x, before[key])}
    trained = {key for key, p in model.named_parameters() if p.requires_grad}
    assert len(trained & changed) > 0.9 * len(trained)
    frozen = {key for key, p in model.named_parameters() if not p.requires_grad}
    assert not frozen & changed
    assert all(torch.isfinite(x).all() for x in model.state_dict().values())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_are_those_of_the_model_alone(name, device, exchanging):
    torch.manual_seed(3)
    opts = ["MODEL.SPARSE_RCNN.DROPOUT", 0.0, "MODEL.TUBER.ACTION_DROPOUT", 0.0]
    for node in ("TUBER", "DEFORMABLE_TUBER", "SEQFORMER"):
        opts += [f"MODEL.{node}.DROPOUT", 0.0]
    for side in ("OUTWARD", "INWARD"):
        opts += [f"MODEL.ROI_ACTION.JITTER_{side}", (0.0, 0.0)]
    cfg = small_config(name, opts, device)
    alone = Trainer.build_model(cfg).double().train()
    wrapped = exchanging(copy.deepcopy(alone))
    batch = small_batch(cfg)
    for model in (alone, wrapped):
        sum(model(batch).values()).backward()
    expected, found = (
        torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad])
        for model in (alone, wrapped.module)
    )
    assert expected.any()
    assert (found - expected).norm() < 1e-8 * expected.norm()
