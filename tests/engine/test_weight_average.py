import logging
import os

import pytest
import torch
from detectron2.modeling import build_model
from small_detectors import ARCHITECTURES, small_detector
from torch import nn

from tubedet.checkpoint import TubedetCheckpointer, load_checkpoint_file
from tubedet.engine import Trainer, load_config
from tubedet.engine.weight_average import WeightAverage

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"
OPTS = ["DATASETS.TEST", (), "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 2]
OPTS += ["SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.MAX_ITER", 4, "SOLVER.WARMUP_ITERS", 0]
OPTS += ["SOLVER.EMA.ENABLED", True, "SOLVER.EMA.DECAY", 0.5]


def test_the_average_of_three_iterations():
    model = nn.Sequential(nn.BatchNorm1d(1), nn.Linear(1, 1, bias=False))
    average = WeightAverage(model, 0.75)
    for value in (4.0, 8.0, 0.0):
        model[1].weight.data.fill_(value)
        model[0].running_mean.fill_(value)
        model[0].num_batches_tracked += 1
        average.after_step()
    assert average.module[1].weight.item() == 3.75  # 0.75 * (0.75 * 4 + 0.25 * 8)
    assert average.module[0].running_mean.item() == 3.75
    assert average.module[0].num_batches_tracked.item() == 3
    assert model[1].weight.item() == 0


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_averages_nothing_is_refused(decay):
    with pytest.raises(ValueError, match=f"SOLVER.EMA.DECAY is {decay}"):
        WeightAverage(nn.Linear(1, 1), decay)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_can_be_averaged(architecture, make_clip_input):
    _, model = small_detector(architecture)
    average = WeightAverage(model, 0.5)
    for parameter in average.module.parameters():  # the first iteration takes the place of these
        parameter.zero_()
    average.after_step()
    clip = make_clip_input(8, 64, 64, model.num_actions)
    with torch.no_grad():
        (expected,), (found,) = model([clip]), average.module.eval()([clip])
    torch.testing.assert_close(
        found["instances"].action_scores, expected["instances"].action_scores
    )


def _train(folder, data_set, monkeypatch, *opts, resume=False):
    data = ["DATASETS.TRAIN", (data_set,)]
    cfg = load_config(CONFIG, [*OPTS, *data, "OUTPUT_DIR", str(folder), *opts])
    os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    evaluated = []
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "test", staticmethod(lambda cfg, model: evaluated.append(model)))
        trainer.train()
    assert evaluated == [trainer.average.module if trainer.average else trainer.model]
    return trainer


def test_it_is_evaluated_saved_and_loaded(two_key_frames, tmp_path, monkeypatch):
    trainer = _train(tmp_path, two_key_frames, monkeypatch)
    path = str(tmp_path / "model_final.pth")
    both = load_checkpoint_file(path, averaged=False)
    for weights, model in (
        (both["model"], trainer.model),
        (both["model_ema"], trainer.average.module),
        (load_checkpoint_file(path)["model"], trainer.average.module),
    ):
        own = model.state_dict()
        assert weights.keys() == own.keys()
        assert all(torch.equal(weights[key], own[key]) for key in own)
    name = next(iter(both["model"]))
    assert not torch.equal(both["model"][name], both["model_ema"][name])
    other = build_model(trainer.cfg)
    TubedetCheckpointer(other).load(path)
    assert torch.equal(other.state_dict()[name], both["model_ema"][name])


def test_a_resumed_training_goes_on_with_both(two_key_frames, tmp_path, monkeypatch):
    _train(tmp_path, two_key_frames, monkeypatch, "SOLVER.MAX_ITER", 2)
    saved = load_checkpoint_file(str(tmp_path / "model_final.pth"), averaged=False)
    data = ["DATASETS.TRAIN", (two_key_frames,)]
    cfg = load_config(CONFIG, [*OPTS, *data, "OUTPUT_DIR", str(tmp_path)])
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    name = next(key for key, value in saved["model"].items() if value.is_floating_point())
    weight, average = trainer.model.state_dict()[name], trainer.average.module.state_dict()[name]
    assert trainer.start_iter == 2
    assert torch.equal(weight, saved["model"][name])
    assert torch.equal(average, saved["model_ema"][name])
    expected = (weight + 1 + average) / 2
    with torch.no_grad():
        weight.add_(1)
    trainer.average.after_step()
    torch.testing.assert_close(average, expected)


def test_a_run_that_had_no_average_gets_one(two_key_frames, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    caplog.set_level(logging.INFO)
    _train(tmp_path, two_key_frames, monkeypatch, "SOLVER.MAX_ITER", 2, "SOLVER.EMA.ENABLED", False)
    trainer = _train(tmp_path, two_key_frames, monkeypatch, resume=True)
    assert trainer.average is not None
    assert "SOLVER.EMA is on: its average starts with the weights of now" in caplog.text


def test_a_run_that_gives_its_average_up_says_so(two_key_frames, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    caplog.set_level(logging.INFO)
    _train(tmp_path, two_key_frames, monkeypatch, "SOLVER.MAX_ITER", 2)
    off = ["SOLVER.EMA.ENABLED", False]
    trainer = _train(tmp_path, two_key_frames, monkeypatch, *off, resume=True)
    assert trainer.average is None
    assert "SOLVER.EMA is off: the average of the checkpoint is not kept" in caplog.text
