"""Fault resume-repeats-data: which key frames a resumed training draws, and with which numbers."""

import numpy as np
import pytest
import torch
from detectron2.utils.env import seed_all_rng

from tubedet.data import ClipDatasetMapper
from tubedet.data.size_groups import SizeGroupedBatches
from tubedet.engine import Trainer, load_config

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"


@pytest.fixture
def drawn(monkeypatch):
    """The times of the key frames that are loaded, and a random number of each."""
    calls = []
    load = ClipDatasetMapper.__call__

    def recorded(self, dataset_dict):
        calls.append((dataset_dict["timestamp"], int(np.random.randint(1 << 30))))
        return load(self, dataset_dict)

    monkeypatch.setattr(ClipDatasetMapper, "__call__", recorded)
    return calls


def _train(data, folder, max_iter, *opts, resume=False):
    cfg = load_config(
        CONFIG,
        ["DATASETS.TRAIN", (data,), "DATASETS.TEST", (), "DATALOADER.NUM_WORKERS", 0]
        + ["SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", max_iter, "INPUT.CLIP.NUM_FRAMES", 2]
        + ["INPUT.MIN_SIZE_TRAIN", (32,), "MODEL.CSN.WIDTH_MULTIPLIER", 0.125]
        + ["OUTPUT_DIR", str(folder), *opts],
    )
    folder.mkdir(exist_ok=True)
    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED)  # as the set-up of a process does
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def _split(calls):
    """The times and the random numbers, which are forgotten."""
    times, numbers = (list(values) for values in zip(*calls))
    calls.clear()
    return times, numbers


@pytest.mark.parametrize("size_grouping", [0, 32])
def test_an_interrupted_run_draws_the_key_frames_of_a_whole_one(
    some_key_frames, tmp_path, drawn, size_grouping
):
    opts = ["DATALOADER.SIZE_GROUPING", size_grouping]
    trainer = _train(some_key_frames, tmp_path / "whole", 6, *opts)
    loader = trainer._trainer.data_loader.loader
    assert isinstance(loader, SizeGroupedBatches) == (size_grouping > 0)
    whole, whole_numbers = _split(drawn)
    _train(some_key_frames, tmp_path / "parts", 2, *opts)
    first, first_numbers = _split(drawn)
    _train(some_key_frames, tmp_path / "parts", 4, *opts, resume=True)
    second, second_numbers = _split(drawn)
    _train(some_key_frames, tmp_path / "parts", 6, *opts, resume=True)
    third, third_numbers = _split(drawn)
    assert first + second + third == whole and len(set(whole[:7])) == 7
    assert first_numbers == whole_numbers[:4]
    assert len({*first_numbers, *second_numbers, *third_numbers}) == 12  # none is drawn again


def test_clips_are_counted_whatever_the_batch_size(some_key_frames, tmp_path, drawn):
    _train(some_key_frames, tmp_path, 2)
    _train(some_key_frames, tmp_path, 5, "SOLVER.IMS_PER_BATCH", 1, resume=True)
    times, _ = _split(drawn)
    assert sorted(times) == sorted(set(times)) and len(times) == 7  # one round over the data set
    state = torch.load(tmp_path / "model_final.pth")["trainer"]
    assert (state["iteration"], state["clips"]) == (4, 7)


def test_a_checkpoint_without_a_number_of_clips_counts_by_its_iterations(
    some_key_frames, tmp_path, drawn
):
    _train(some_key_frames, tmp_path, 2)
    path = tmp_path / "model_final.pth"
    checkpoint = torch.load(path)
    del checkpoint["trainer"]["clips"]
    torch.save(checkpoint, path)
    _train(some_key_frames, tmp_path, 3, resume=True)
    times, _ = _split(drawn)
    assert len(set(times)) == 6


def test_without_a_seed_the_order_is_another_one(some_key_frames, tmp_path, drawn):
    trainer = _train(some_key_frames, tmp_path, 1, "SEED", -1)
    trainer = _train(some_key_frames, tmp_path, 2, "SEED", -1, resume=True)
    loader = trainer._trainer.data_loader.loader
    assert loader.dataset.dataset.sampler._num_drawn == 0
