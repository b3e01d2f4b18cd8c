"""From a trained model to one with long-term context, by the commands of the documentation."""

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng

from tubedet.cli import build_memory
from tubedet.cli.running import run_command
from tubedet.engine import Trainer, load_config
from tubedet.engine.config_checks import check_run_config
from tubedet.errors import UserError

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"
OPTS = ["MODEL.DEVICE", "cpu", "INPUT.CLIP.NUM_FRAMES", "4", "MODEL.TUBER.DEC_LAYERS", "1"]
OPTS += ["SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "3", "SOLVER.CHECKPOINT_PERIOD", "3"]
OPTS += ["MODEL.MEMORY.PERSON_THRESH", "0.0"]
READER = ["MODEL.MEMORY.ENABLED", "True", "MODEL.MEMORY.HIDDEN_DIM", "32"]


@pytest.fixture
def base(two_key_frames, tmp_path, monkeypatch):
    """Options of a config with weights that were never trained, and the folder of its memory."""
    monkeypatch.setattr(build_memory, "log_to_console", lambda: None)
    data = str((two_key_frames,))
    opts = [*OPTS, "DATASETS.TRAIN", data, "DATASETS.TEST", data]
    seed_all_rng(1)
    (tmp_path / "run").mkdir()
    path = tmp_path / "base.pth"
    torch.save({"model": build_model(load_config(CONFIG, opts)).state_dict()}, path)
    return [*opts, "MODEL.WEIGHTS", str(path)], tmp_path / "memory"


def write(opts, folder):
    return run_command("build-memory", ["--config-file", CONFIG, "--output", str(folder), *opts])


def test_reading_layers_are_trained_on_a_store_and_nothing_else(base, tmp_path, capsys):
    opts, folder = base
    assert write(opts, folder) == 0
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("*.memory.safetensors")}
    assert files
    reading = [*opts, *READER, "MODEL.MEMORY.STORE", str(folder)]
    # The same command has nothing left to do, whatever will read what it wrote.
    assert write(reading, folder) == 0
    assert files == {path: path.stat().st_mtime_ns for path in files}

    cfg = load_config(CONFIG, [*reading, "OUTPUT_DIR", str(tmp_path / "run")])
    check_run_config(cfg, num_processes=1, eval_only=False)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    trainer.train()
    changed = {k for k, v in trainer.model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed and all(key.startswith("memory_reader.") for key in changed)

    # Its checkpoint reads the same store, and is a base without it.
    final = ["MODEL.WEIGHTS", str(tmp_path / "run" / "model_final.pth")]
    cfg = load_config(CONFIG, [*reading, *final, "OUTPUT_DIR", str(tmp_path / "run")])
    assert "frame_ap" in Trainer.evaluate_weights(cfg)
    assert write([*opts, *final], tmp_path / "again") == 0


def test_stores_of_other_weights_and_missing_ones_are_refused(base, tmp_path):
    opts, folder = base
    assert write(opts, folder) == 0
    reading = [*opts, *READER, "OUTPUT_DIR", str(tmp_path / "run")]
    with pytest.raises(UserError, match="MODEL.MEMORY.STORE is empty; name the folder that"):
        check_run_config(load_config(CONFIG, reading), num_processes=1, eval_only=False)
    other = load_config(CONFIG, [*reading, "MODEL.MEMORY.STORE", str(folder), "MODEL.WEIGHTS", ""])
    trainer = Trainer(other)
    with pytest.raises(UserError, match="was made with other weights than the model has"):
        trainer.resume_or_load(resume=False)
    for path in folder.rglob("*.memory.safetensors"):
        path.unlink()
    cfg = load_config(CONFIG, [*reading, "MODEL.MEMORY.STORE", str(folder)])
    trainer = Trainer(cfg)
    with pytest.raises(UserError, match="has no memory of video"):
        trainer.resume_or_load(resume=False)
