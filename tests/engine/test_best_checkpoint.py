"""The best weights, and the end of a training that becomes no better."""

import json
import logging
import os

import pytest
import torch
from detectron2.engine import hooks
from detectron2.utils.env import seed_all_rng

from tubedet.checkpoint import load_checkpoint_file
from tubedet.engine import Trainer, load_config

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"
METRIC = "frame_ap/mAP@0.5IOU"


@pytest.fixture
def train(two_key_frames, tmp_path, monkeypatch):
    """Trains with an evaluation of given figures after each iteration; returns the trainer."""

    def run(figures, *opts, resume=False, hook=None, **changes):
        cfg = load_config(
            CONFIG,
            ["DATASETS.TRAIN", (two_key_frames,), "DATASETS.TEST", (two_key_frames,)]
            + ["DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 1, "INPUT.CLIP.NUM_FRAMES", 2]
            + ["INPUT.MIN_SIZE_TRAIN", (32,), "MODEL.CSN.WIDTH_MULTIPLIER", 0.125]
            + ["MODEL.CSN.DEPTH", 26, "MODEL.TUBER.ENC_LAYERS", 1, "MODEL.TUBER.DEC_LAYERS", 1]
            + ["SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.MAX_ITER", 8, "TEST.EVAL_PERIOD", 1]
            + ["TEST.BEST_METRIC", METRIC, "OUTPUT_DIR", str(tmp_path), *opts],
        )
        left, evaluated = iter(figures), []

        def evaluate(cfg, model):
            evaluated.append({k: v.clone() for k, v in model.state_dict().items()})
            name = "total_loss" if "loss" in cfg.TEST.BEST_METRIC else "mAP@0.5IOU"
            return {"frame_ap": {name: next(left)}}

        monkeypatch.setattr(Trainer, "test", staticmethod(evaluate))
        os.makedirs(tmp_path, exist_ok=True)
        seed_all_rng(0)
        trainer = Trainer(cfg)
        if hook is not None:
            trainer.register_hooks([hook(trainer)])
        trainer.resume_or_load(resume=resume)
        if not trainer.is_complete():
            trainer.train()
        trainer.evaluated = evaluated
        return trainer

    return run


def _record(folder):
    return json.loads((folder / "model_best.json").read_text())


def test_the_best_evaluation_is_kept_with_its_average(train, tmp_path):
    ema = ["SOLVER.EMA.ENABLED", True, "SOLVER.EMA.DECAY", 0.5, "SOLVER.MAX_ITER", 4]
    trainer = train([10.0, 30.0, float("nan"), 20.0], *ema)
    assert _record(tmp_path) == {"metric": METRIC, "value": 30.0, "iteration": 1}
    path = str(tmp_path / "model_best.pth")
    both = load_checkpoint_file(path, averaged=False)
    best = trainer.evaluated[1]
    assert all(torch.equal(both["model_ema"][name], best[name]) for name in best)
    assert any(not torch.equal(both["model"][name], best[name]) for name in best)
    assert both["iteration"] == 1
    assert torch.equal(
        load_checkpoint_file(path)["model"]["box_head.layers.0.bias"],
        best["box_head.layers.0.bias"],
    )
    # --resume goes on from where the training was.
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_patience_ends_a_training_and_its_resumed_run(train, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    caplog.set_level(logging.INFO)
    patience = ["TEST.PATIENCE", 3]
    trainer = train([10.0, 30.0, 30.0, 29.0, 1.0, 99.0], *patience)
    assert (trainer.iter, len(trainer.evaluated)) == (5, 5)  # not again at the end
    assert "3 evaluations without a better figure than that of iteration 1" in caplog.text
    final = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert final["iteration"] == 4
    last = trainer.evaluated[-1]
    assert all(torch.equal(final["model"][name], last[name]) for name in last)

    assert train([99.0], *patience, resume=True).evaluated == []
    trainer = train([20.0, 31.0, 5.0], "TEST.PATIENCE", 5, resume=True)
    assert trainer.start_iter == 5 and len(trainer.evaluated) == 3
    assert _record(tmp_path) == {"metric": METRIC, "value": 31.0, "iteration": 6}


def test_a_killed_run_does_not_forget_what_was_best(train, tmp_path):
    class Kill(hooks.HookBase):
        def after_step(self):
            if self.trainer.iter == 2:
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train([10.0, 30.0, 20.0], hook=lambda trainer: Kill())
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"
    trainer = train([25.0, 20.0, 29.0], "SOLVER.MAX_ITER", 5, resume=True)
    assert trainer.start_iter == 2 and trainer.best.num_worse == 3
    assert _record(tmp_path) == {"metric": METRIC, "value": 30.0, "iteration": 1}
    assert torch.load(tmp_path / "model_best.pth")["iteration"] == 1


@pytest.mark.parametrize(
    "metric, opts, best",
    [
        ("frame_ap/total_loss", [], {"value": 1.0, "iteration": 3}),
        # The last evaluation is of all key frames.
        (METRIC, ["TEST.MAX_KEY_FRAMES", 1], {"value": 2.0, "iteration": 1}),
    ],
)
def test_what_is_compared_and_how(train, tmp_path, metric, opts, best):
    figures = [3.0, 2.0, 1.0] if "loss" in metric else [1.0, 2.0, 3.0]
    trainer = train(figures, "TEST.BEST_METRIC", metric, "SOLVER.MAX_ITER", 3, *opts)
    assert _record(tmp_path) == {"metric": metric, **best}
    assert len(trainer.evaluated) == 3


def test_the_first_best_checkpoint_can_be_resumed_until_there_is_another(train, tmp_path):
    trainer = train([10.0], "SOLVER.MAX_ITER", 1)
    for name in ("model_final.pth", "last_checkpoint"):
        (tmp_path / name).unlink()
    trainer.checkpointer.save("model_best", iteration=0)
    assert (tmp_path / "last_checkpoint").read_text() == "model_best.pth"


def test_detectron2s_best_checkpointer_is_a_hook_like_any_other(train, tmp_path):
    def usual(trainer):
        return hooks.BestCheckpointer(1, trainer.checkpointer, METRIC)

    train([10.0, 30.0, 20.0], "TEST.BEST_METRIC", "", "SOLVER.MAX_ITER", 3, hook=usual)
    assert torch.load(tmp_path / "model_best.pth")["iteration"] == 1
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_a_figure_that_is_not_there_is_named_with_those_that_are(train, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    train([10.0], "TEST.BEST_METRIC", "frame_ap/mAP", "SOLVER.MAX_ITER", 1)
    assert (
        "TEST.BEST_METRIC is 'frame_ap/mAP', but this evaluation has frame_ap/mAP@0.5IOU: "
        "model_best.pth stays as it is"
    ) in caplog.text
