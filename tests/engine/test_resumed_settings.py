"""A resumed training takes learning rates and weight decay from its config."""

import logging

import pytest
import torch
from detectron2.utils.env import seed_all_rng

from tubedet.engine import Trainer, load_config

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"


def _trainer(data, folder, max_iter, *opts):
    cfg = load_config(
        CONFIG,
        ["DATASETS.TRAIN", (data,), "DATASETS.TEST", (), "DATALOADER.NUM_WORKERS", 0]
        + ["SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", max_iter, "SOLVER.WARMUP_ITERS", 0]
        + ["SOLVER.LR_SCHEDULER_NAME", "WarmupMultiStepLR", "SOLVER.STEPS", (3,)]
        + ["SOLVER.CHECKPOINT_PERIOD", 2, "INPUT.CLIP.NUM_FRAMES", 2]
        + ["INPUT.MIN_SIZE_TRAIN", (32,), "OUTPUT_DIR", str(folder), *opts],
    )
    folder.mkdir(exist_ok=True)
    seed_all_rng(0)
    return Trainer(cfg)


def test_rates_and_decay_are_those_of_the_config(two_key_frames, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    first = _trainer(two_key_frames, tmp_path, 2)
    first.resume_or_load(resume=False)
    first.train()
    kept = [(g["initial_lr"], g["weight_decay"]) for g in first._trainer.optimizer.param_groups]

    same = _trainer(two_key_frames, tmp_path, 4)
    caplog.set_level(logging.INFO)
    same.resume_or_load(resume=True)
    assert same.start_iter == 2 and "those of the config" not in caplog.text
    optimizer = same._trainer.optimizer
    moments = {name: optimizer.state[p]["exp_avg"] for name, p in same.model.named_parameters()}

    opts = ["SOLVER.BASE_LR", 1e-5, "SOLVER.WEIGHT_DECAY", 0.5]
    other = _trainer(two_key_frames, tmp_path, 5, *opts)
    other.resume_or_load(resume=True)
    base = first.cfg.SOLVER.BASE_LR
    assert base != 1e-5 and len(kept) == 1  # norms have a decay of their own now: two groups
    for group in other._trainer.optimizer.param_groups:
        assert group["lr"] == group["initial_lr"] == pytest.approx(1e-5)
    decays = [group["weight_decay"] for group in other._trainer.optimizer.param_groups]
    assert decays == [0.5, other.cfg.SOLVER.WEIGHT_DECAY_NORM]
    assert "of 204 parameters are those of the config from now on" in caplog.text
    for name, p in other.model.named_parameters():
        assert torch.equal(other._trainer.optimizer.state[p]["exp_avg"], moments[name]), name
    other.train()  # beyond the step at 3 of 5 iterations
    for group in other._trainer.optimizer.param_groups:
        assert group["lr"] == pytest.approx(group["initial_lr"] * other.cfg.SOLVER.GAMMA)


def test_a_training_killed_while_it_writes_its_last_checkpoint_gets_it(two_key_frames, tmp_path):
    first = _trainer(two_key_frames, tmp_path, 2, "SOLVER.CHECKPOINT_PERIOD", 1)
    first.resume_or_load(resume=False)
    first.train()
    (tmp_path / "model_final.pth").unlink()  # as it is after the kill
    (tmp_path / "last_checkpoint").write_text("model_0000001.pth")

    second = _trainer(two_key_frames, tmp_path, 2, "SOLVER.CHECKPOINT_PERIOD", 1)
    second.resume_or_load(resume=True)
    assert (second.start_iter, second.max_iter) == (2, 2)
    second.train()
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    last, final = (
        torch.load(tmp_path / name, weights_only=True)
        for name in ("model_0000001.pth", "model_final.pth")
    )
    assert final["iteration"] == last["iteration"] == 1
    assert final["model"].keys() == last["model"].keys()
    assert all(torch.equal(final["model"][key], last["model"][key]) for key in last["model"])
    states = [checkpoint["trainer"]["_trainer"] for checkpoint in (last, final)]
    assert states[0]["iteration"] == states[1]["iteration"]
    assert len({str(state["optimizer"]["param_groups"]) for state in states}) == 1

    # One that ended is not written again, and a longer one goes on from it.
    (tmp_path / "model_final.pth").touch()
    written = (tmp_path / "model_final.pth").stat().st_mtime_ns
    longer = _trainer(two_key_frames, tmp_path, 4, "SOLVER.CHECKPOINT_PERIOD", 1)
    longer.resume_or_load(resume=True)
    assert longer.start_iter == 2
    _trainer(two_key_frames, tmp_path, 2).resume_or_load(resume=True)
    assert (tmp_path / "model_final.pth").stat().st_mtime_ns == written
