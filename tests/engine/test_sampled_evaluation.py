"""TEST.MAX_KEY_FRAMES: evaluations during a training take a sample, others take everything."""

import json
import logging
import os

import pytest
from detectron2.utils.env import seed_all_rng

from tubedet.data import ClipDatasetMapper
from tubedet.engine import Trainer, load_config

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"


@pytest.fixture
def evaluated(monkeypatch):
    """The times of the key frames that are loaded for evaluations."""
    times = []
    load = ClipDatasetMapper.__call__

    def recorded(self, dataset_dict):
        if not self.is_train:
            times.append(dataset_dict["timestamp"])
        return load(self, dataset_dict)

    monkeypatch.setattr(ClipDatasetMapper, "__call__", recorded)
    return times


def _config(data, folder, *opts):
    folder.mkdir(exist_ok=True)
    return load_config(
        CONFIG,
        ["DATASETS.TRAIN", (data,), "DATASETS.TEST", (data,), "DATALOADER.NUM_WORKERS", 0]
        + ["SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 3, "INPUT.CLIP.NUM_FRAMES", 2]
        + ["INPUT.MIN_SIZE_TRAIN", (32,), "INPUT.MIN_SIZE_TEST", 32, "TEST.EVAL_PERIOD", 1]
        + ["MODEL.CSN.WIDTH_MULTIPLIER", 0.125, "OUTPUT_DIR", str(folder), *opts],
    )


def test_only_evaluations_during_a_training_are_sampled(
    some_key_frames, tmp_path, evaluated, caplog, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    caplog.set_level(logging.INFO)
    cfg = _config(some_key_frames, tmp_path, "TEST.MAX_KEY_FRAMES", 3)
    seed_all_rng(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    first, second, whole = evaluated[:3], evaluated[3:6], evaluated[6:]
    assert len(whole) == len(set(whole)) == 7
    assert first == second == [whole[1], whole[3], whole[5]]
    message = "evaluation of 3 of 7 key frames, evenly over the data set (TEST.MAX_KEY_FRAMES)"
    assert caplog.text.count(message) == 2
    assert "3 key frames, " in caplog.text and "7 key frames, " in caplog.text
    lines = [json.loads(line) for line in open(tmp_path / "metrics.json")]
    assert [m["iteration"] for m in lines if "frame_ap/mAP@0.5IOU" in m] == [0, 1, 3]
    assert len(os.listdir(tmp_path / "inference")) == 2  # of the last evaluation

    evaluated.clear()
    weights = ["MODEL.WEIGHTS", str(tmp_path / "model_final.pth")]
    cfg.merge_from_list(weights)
    Trainer.evaluate_weights(cfg)
    assert evaluated == whole and cfg.TEST.MAX_KEY_FRAMES == 3


def test_a_sample_as_large_as_the_data_set_is_no_sample(some_key_frames, tmp_path, evaluated):
    trainer = Trainer(_config(some_key_frames, tmp_path, "TEST.MAX_KEY_FRAMES", 7))
    sampled = trainer.test(trainer.cfg, trainer.model)
    whole = trainer.test(_config(some_key_frames, tmp_path), trainer.model)
    assert sampled == whole and evaluated[:7] == evaluated[7:]
