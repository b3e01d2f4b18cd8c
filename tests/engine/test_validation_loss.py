"""The loss on a test set: that of a training, without its noise."""

import os

import pytest
import torch
from detectron2.utils import comm
from small_detectors import ARCHITECTURES, small_batch, small_detector
from torch import nn

from tubedet.engine import Trainer, load_config
from tubedet.engine.validation_loss import validation_losses
from tubedet.modeling.losses import average_num_boxes, losses_of_own_process


class _Noisy(nn.Module):
    """The mean of the clips as a loss, with noise in training; a second layer has half of it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(0.9)

    def forward(self, clips):
        assert self.training
        mean = self.dropout(torch.tensor(clips)).mean()
        return {"loss_ce": mean, "loss_ce_0": mean / 2}


def test_clips_count_alike_and_dropout_is_off():
    model = _Noisy()
    state = torch.random.get_rng_state()
    losses = validation_losses(model, [[1.0, 2.0], [6.0]])
    assert losses == {"total_loss": pytest.approx(4.5), "loss_ce": pytest.approx(3.0)}
    assert model.training and model.dropout.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert validation_losses(model, []) == {}


def test_processes_count_together_without_waiting_for_each_other(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    with losses_of_own_process():
        assert average_num_boxes([], torch.device("cpu")) == 1.0
    other = ({"loss_ce": 20.0}, 2)
    monkeypatch.setattr(comm, "gather", lambda own, dst: [own, other])
    losses = validation_losses(_Noisy(), [[1.0, 2.0], [6.0]])
    assert losses["loss_ce"] == pytest.approx((9 + 20) / 5)


@pytest.mark.parametrize("architecture", ["TubeR", "ClassQueryTubes", "SparseRCNN", "RoI"])
def test_an_architecture_returns_the_losses_of_its_training(architecture):
    assert architecture in ARCHITECTURES
    cfg, model = small_detector(architecture)
    batch = small_batch(cfg)
    losses = validation_losses(model, [batch])
    assert not model.training and losses["total_loss"] > 0
    for module in model.modules():  # norms as at inference, the rest as in training
        module.train("Norm" not in type(module).__name__ and "Dropout" not in type(module).__name__)
    torch.manual_seed(0)
    expected = sum(model(batch).values()).item()
    assert losses["total_loss"] == pytest.approx(expected, rel=1e-4)


def test_every_evaluation_of_a_training_has_it(two_key_frames, tmp_path):
    cfg = load_config(
        "configs/quick_schedules/TubeR_toy.yaml",
        ["DATASETS.TRAIN", (two_key_frames,), "DATASETS.TEST", (two_key_frames,)]
        + ["DATALOADER.NUM_WORKERS", 0, "INPUT.CLIP.NUM_FRAMES", 2, "INPUT.MIN_SIZE_TEST", 32]
        + ["MODEL.CSN.WIDTH_MULTIPLIER", 0.125, "OUTPUT_DIR", str(tmp_path)]
        + ["TEST.VALIDATION_LOSS", True],
    )
    os.makedirs(tmp_path, exist_ok=True)
    trainer = Trainer(cfg)
    results = trainer._evaluate()
    assert list(results) == ["frame_ap", "validation"]
    assert results["validation"].keys() == {
        "total_loss",
        "loss_ce",
        "loss_ce_b",
        "loss_bbox",
        "loss_giou",
    }
    # By hand, of the same clips.
    batches = list(trainer.build_test_loader(cfg, two_key_frames, annotated=True))
    assert [len(clip["instances"]) > 0 for batch in batches for clip in batch] == [True, True]
    expected = validation_losses(trainer.model, batches)
    assert results["validation"]["total_loss"] == pytest.approx(expected["total_loss"], rel=1e-5)
