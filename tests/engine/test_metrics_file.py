"""Every evaluation of a run is in metrics.json, once."""

import json
import os

import pytest
from detectron2.utils.env import seed_all_rng

from tubedet.engine import Trainer, load_config
from tubedet.engine.metrics_file import forget_iterations

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"


def _train(max_iter, data, folder, monkeypatch, *, resume=False):
    cfg = load_config(
        CONFIG,
        ["DATASETS.TRAIN", (data,), "DATASETS.TEST", (data,), "DATALOADER.NUM_WORKERS", 0]
        + ["SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", max_iter, "TEST.EVAL_PERIOD", 2]
        + ["SOLVER.CHECKPOINT_PERIOD", 3, "INPUT.CLIP.NUM_FRAMES", 2, "INPUT.MIN_SIZE_TRAIN", (32,)]
        + ["OUTPUT_DIR", str(folder)],
    )
    figures = iter(range(100))
    monkeypatch.setattr(Trainer, "test", lambda *_: {"frame_ap": {"mAP": next(figures)}})
    os.makedirs(folder, exist_ok=True)
    seed_all_rng(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    trainer.train()


def _evaluations(folder):
    lines = [json.loads(line) for line in open(folder / "metrics.json")]
    return [line["iteration"] for line in lines if "frame_ap/mAP" in line]


def test_no_evaluation_is_lost_or_written_twice(two_key_frames, tmp_path, monkeypatch):
    _train(7, two_key_frames, tmp_path, monkeypatch)
    assert _evaluations(tmp_path) == [1, 3, 5, 7]  # the last one after the training
    # Killed after iteration 6: the checkpoint after the fifth is the last one.
    (tmp_path / "last_checkpoint").write_text("model_0000005.pth")
    _train(11, two_key_frames, tmp_path, monkeypatch, resume=True)
    assert _evaluations(tmp_path) == [1, 3, 5, 7, 9, 11]


def test_the_evaluation_at_the_end_stays_when_a_training_is_prolonged(
    two_key_frames, tmp_path, monkeypatch
):
    _train(3, two_key_frames, tmp_path, monkeypatch)
    assert _evaluations(tmp_path) == [1, 3]
    _train(6, two_key_frames, tmp_path, monkeypatch, resume=True)
    # After 2, 3, 4 and 6 iterations; the second 3 is that of the fourth iteration.
    assert _evaluations(tmp_path) == [1, 3, 3, 6]


@pytest.mark.parametrize("end", ["", '{"iteration": 12, "a'])
def test_lines_from_an_iteration_on_are_taken_out(end, tmp_path):
    path = tmp_path / "metrics.json"
    lines = [json.dumps({"iteration": n, "x": 1}) + "\n" for n in (1, 5, 9, 12)]
    path.write_text("".join(lines[:3]) + (end or lines[3]))
    forget_iterations(path, 10)
    assert path.read_text() == "".join(lines[:3])
    forget_iterations(path, 5)
    assert path.read_text() == lines[0]
    forget_iterations(tmp_path / "none.json", 5)
    assert not (tmp_path / "none.json").exists()


def test_a_torn_line_in_the_middle_costs_nothing_else(tmp_path):
    path = tmp_path / "metrics.json"
    lines = ['{"iteration": 1}\n', '{"itera{"iteration": 3}\n', '{"iteration": 5}\n']
    path.write_text("".join(lines) + '{"iteration": 9, "total_loss": 1}\n')
    forget_iterations(path, 9)
    assert path.read_text() == "".join(lines)
