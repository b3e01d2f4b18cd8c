"""What a run finds in its OUTPUT_DIR, and leaves there."""

import hashlib
import json
import logging
import multiprocessing
import time

import pytest
import torch

from tubedet.cli.running import run_command
from tubedet.engine.output_folder import only_run_in, results_of_training
from tubedet.errors import UserError
from tubedet.files.locks import FileLocks

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"
SMALL = ["MODEL.CSN.WIDTH_MULTIPLIER", "0.125", "SOLVER.IMS_PER_BATCH", "2", "MODEL.DEVICE", "cpu"]
SMALL += ["DATALOADER.NUM_WORKERS", "0", "INPUT.MIN_SIZE_TRAIN", "(32,)", "INPUT.MIN_SIZE_TEST"]
SMALL += ["32", "SOLVER.WARMUP_ITERS", "2", "INPUT.CLIP.NUM_FRAMES", "2"]


@pytest.fixture
def train(two_key_frames, tmp_path, monkeypatch, caplog, capsys):
    """Runs ``train`` in this process; returns its exit status and its last line."""
    monkeypatch.setattr("tubedet.engine.run_setup.default_setup", _set_up)
    monkeypatch.setattr("tubedet.engine.run_setup.setup_logger", lambda *_, **__: logging.root)
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    caplog.set_level(logging.INFO)
    data = ["DATASETS.TRAIN", f"('{two_key_frames}',)", "DATASETS.TEST", f"('{two_key_frames}',)"]

    def run(max_iter, *flags, opts=()):
        caplog.clear()
        capsys.readouterr()
        keys = [*SMALL, *data, "OUTPUT_DIR", str(tmp_path / "out"), "SOLVER.MAX_ITER"]
        arguments = ["--config-file", CONFIG, *flags, *keys, str(max_iter), *opts]
        status = run_command("train", arguments, prog="train")
        lines = capsys.readouterr().err.splitlines()
        return status, lines[-1] if status else caplog.messages[-1]

    return run


def _set_up(cfg, args):
    """What detectron2 does, without what would change the process of the tests."""
    torch.manual_seed(cfg.SEED)


def _contents(folder):
    """Hashes of all files but the log."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "log.txt"]
    return {str(p.relative_to(folder)): hashlib.md5(p.read_bytes()).hexdigest() for p in files}


def _evaluations(folder):
    lines = (folder / "metrics.json").read_text().splitlines()
    scalars = [json.loads(line) for line in lines]
    return [s["iteration"] for s in scalars if "frame_ap/mAP@0.5IOU" in s]


def test_a_complete_training_is_neither_evaluated_again_nor_changed(train, tmp_path):
    out = tmp_path / "out"
    assert train(1)[0] == 0
    before = _contents(out)
    assert {"model_final.pth", "metrics.json", "config.yaml"} < before.keys()
    for _ in range(2):
        status, line = train(1, "--resume", opts=["SEED", "3"])
        assert status == 0
        assert line == (
            f"nothing to do: {out}/model_final.pth has 1 iterations and SOLVER.MAX_ITER is 1; "
            "raise SOLVER.MAX_ITER to train further, or add --eval-only to evaluate"
        )
        assert _contents(out) == before
    assert _evaluations(out) == [1]


def test_fewer_iterations_than_were_made_are_named(train, tmp_path):
    assert train(2)[0] == 0
    before = _contents(tmp_path / "out")
    status, line = train(1, "--resume")
    assert status == 0 and "has 2 iterations and SOLVER.MAX_ITER is 1" in line
    assert _contents(tmp_path / "out") == before


def test_a_training_that_ended_in_its_last_evaluation_makes_up_for_it(train, tmp_path):
    assert train(1)[0] == 0
    metrics = tmp_path / "out" / "metrics.json"
    metrics.write_text("")
    assert train(1, "--resume")[0] == 0
    assert _evaluations(tmp_path / "out") == [1]
    assert "nothing to do" in train(1, "--resume")[1]
    assert _evaluations(tmp_path / "out") == [1]


def test_a_training_is_not_mixed_with_an_earlier_one(train, tmp_path):
    out = tmp_path / "out"
    assert train(2, opts=["SOLVER.CHECKPOINT_PERIOD", "1"])[0] == 0
    before = _contents(out)
    status, line = train(1)
    assert status == 2
    assert line == (
        f"train: error: OUTPUT_DIR {out} has a training already (last_checkpoint, metrics.json, "
        "model_0000000.pth, ...); add --resume to go on with it, name another OUTPUT_DIR, or add "
        "--overwrite to remove it and start anew"
    )
    status, line = train(1, "--overwrite", opts=["MODEL.WEIGHTS", str(out / "model_final.pth")])
    assert status == 2 and line.endswith(
        "model_final.pth, from which the training starts; name another OUTPUT_DIR"
    )
    assert _contents(out) == before

    assert train(1, "--overwrite")[0] == 0
    names = [path.name for path in results_of_training(out)]
    assert names == ["last_checkpoint", "metrics.json", "model_final.pth"]
    assert torch.load(out / "model_final.pth")["iteration"] == 0
    assert _evaluations(out) == [1] and len(list(out.glob("events.*"))) == 1


def test_a_training_that_was_refused_leaves_no_trace_to_stumble_over(train, tmp_path):
    assert train(1, opts=["MODEL.WEIGHTS", str(tmp_path / "none.pth")])[0] == 2
    wrong = tmp_path / "few.pth"
    torch.save({"model": {"box_head.layers.2.bias": torch.zeros(4)}}, wrong)
    assert train(1, opts=["MODEL.WEIGHTS", str(wrong)])[0] == 2
    assert train(1)[0] == 0


def test_metrics_before_the_first_checkpoint_are_written_once(train, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "metrics.json").write_text('{"iteration": 0, "total_loss": 1.0}\n')
    assert train(1)[0] == 2
    assert train(1, "--resume")[0] == 0
    lines = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [0, 1] and lines[0]["total_loss"] > 2


def test_an_evaluation_leaves_a_training_as_it_is(train, tmp_path):
    out = tmp_path / "out"
    weights = ["MODEL.WEIGHTS", str(out / "model_final.pth")]
    assert train(1)[0] == 0
    before = _contents(out)
    (out / "inference" / "toy_first_2_key_frames_results.json").unlink()
    assert train(1, "--eval-only", opts=[*weights, "SEED", "9"])[0] == 0
    assert _contents(out) == before
    assert train(1, "--eval-only", "--resume")[0] == 0
    with pytest.raises(SystemExit, match="2"):
        train(1, "--eval-only", "--overwrite", opts=weights)


def test_checkpoints_of_which_none_is_the_last_are_not_replaced(train, tmp_path):
    """As in a folder that was copied in part."""
    out = tmp_path / "out"
    assert train(1)[0] == 0
    (out / "last_checkpoint").unlink()
    before = _contents(out)
    status, line = train(2, "--resume")
    assert status == 2 and line == (
        f"train: error: --resume: OUTPUT_DIR {out} has model_final.pth, but no file "
        "last_checkpoint, which holds the name of the checkpoint to go on from; write it, or name "
        "another OUTPUT_DIR"
    )
    assert _contents(out) == before
    (out / "last_checkpoint").write_text("model_final.pth")
    assert train(2, "--resume")[0] == 0


def _hold(folder, held):
    with only_run_in(folder):
        held.put(True)
        time.sleep(600)


@pytest.mark.parametrize("flags", [[], ["--resume"], ["--eval-only", "--resume"]])
def test_a_second_run_is_refused_until_the_first_has_ended(flags, train, tmp_path):
    out = tmp_path / "out"
    assert train(1)[0] == 0
    context = multiprocessing.get_context("fork")
    held = context.Queue()
    process = context.Process(target=_hold, args=(out, held))
    process.start()
    try:
        assert held.get(timeout=120)
        before = _contents(out)
        # A new training is refused by what it finds, before it asks for the lock.
        message = f"another run writes to OUTPUT_DIR {out}" if flags else "has a training already"
        status, line = train(2, *flags)
        assert status == 2 and message in line, line
        assert _contents(out) == before
    finally:
        process.kill()  # leaves no stale lock
        process.join()
    if flags:
        assert train(2, *flags)[0] == 0


def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch, caplog):
    def refuse(self, name):
        raise OSError(37, "the file system offers no locks", self.path)

    monkeypatch.setattr(FileLocks, "acquire", refuse)
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    with only_run_in(tmp_path):
        assert "a second run in this folder would not be noticed" in caplog.text


def test_only_checkpoints_and_metrics_count(tmp_path):
    assert results_of_training(tmp_path / "none") == []
    for name in ("config.yaml", "log.txt", "model_zoo.pth", "metrics.json", ".run.lock"):
        (tmp_path / name).write_text("")
    assert results_of_training(tmp_path) == []
    (tmp_path / "model_0000009.pth").write_text("")
    assert [path.name for path in results_of_training(tmp_path)] == ["model_0000009.pth"]
    with pytest.raises(UserError), only_run_in(tmp_path):
        raise UserError("within")
