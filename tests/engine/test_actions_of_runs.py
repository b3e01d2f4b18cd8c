"""Runs on data sets with the same actions in another order (class-order-differs), or others."""

import json
import logging
import re

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet import load_model
from tubedet.checkpoint import CheckpointError, load_checkpoint_file
from tubedet.cli.running import run_command
from tubedet.engine import Trainer, load_config
from tubedet.errors import UserError
from tubedet.export.deployment_record import deployment_record
from tubedet.export.trace import ClipShape
from tubedet.inference import VideoActionDetector, action_names_of
from tubedet.inference.writers import VideoWriter

CONFIG = "configs/quick_schedules/TubeR_toy.yaml"


@pytest.fixture
def folder(tmp_path):
    """Two data sets of one video each, in which somebody walks at second 1 and waves at 2."""
    for name in ("a", "b"):
        with VideoWriter(tmp_path / "videos" / f"{name}.mp4", 10) as writer:
            for number in range(30):
                frame = np.full((48, 64, 3), 90, np.uint8)
                frame[10:40, number : number + 20] = 220
                writer.write(frame)
    _write(tmp_path, "a", "a", ["walk", "wave"], (1, 2))
    _write(tmp_path, "b", "b", ["wave", "walk"], (2, 1))
    yield tmp_path
    for name in [name for name in DatasetCatalog.list() if name.startswith(str(tmp_path))]:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def _write(folder, name, video, classes, ids):
    rows = [f"{video},{second},0.1,0.1,0.5,0.9,{k},0\n" for second, k in enumerate(ids, start=1)]
    (folder / f"{name}.csv").write_text("".join(rows))
    lines = [f"annotations: {name}.csv", f"classes: [{', '.join(classes)}]"]
    (folder / f"{name}.yaml").write_text("\n".join(["videos: videos", "fps: 10", *lines]))


def _config(folder, train, test, *opts, num_actions=2, output="out"):
    (folder / output).mkdir(exist_ok=True)
    names = [tuple(str(folder / f"{name}.yaml") for name in part) for part in (train, test)]
    return load_config(
        CONFIG,
        ["DATASETS.TRAIN", names[0], "DATASETS.TEST", names[1], "MODEL.NUM_ACTIONS", num_actions]
        + ["MODEL.DEVICE", "cpu", "MODEL.CSN.WIDTH_MULTIPLIER", 0.125, "INPUT.CLIP.NUM_FRAMES", 4]
        + ["DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 2]
        + ["INPUT.MIN_SIZE_TRAIN", (32,), "INPUT.MIN_SIZE_TEST", 32, "TEST.EVAL_PERIOD", 0]
        + ["MODEL.TUBER.PERSON_THRESH", 0.0, "OUTPUT_DIR", str(folder / output), *opts],
    )


def _train(folder, *names, resume=False, **options):
    trainer = Trainer(_config(folder, names, (), *options.pop("opts", ()), **options))
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return str(folder / options.get("output", "out") / "model_final.pth")


def _scores(folder, output, name):
    """{(second, action id): scores in order of size} of what was predicted."""
    text = (folder / output / "inference" / f"{name}_predictions.csv").read_text()
    found = {}
    for row in (line.split(",") for line in text.splitlines()):
        found.setdefault((float(row[1]), int(row[6])), []).append(float(row[7]))
    return {key: np.sort(values) for key, values in found.items()}


def test_class_order_differs_between_training_and_evaluation(folder, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    caplog.set_level(logging.INFO)
    weights = _train(folder, "a", opts=["SOLVER.EMA.ENABLED", True])
    file = load_checkpoint_file(weights)
    assert file["action_names"] == ["walk", "wave"] and file["trained_on"] == ["a.yaml"]
    with torch.no_grad():  # as if it had learned that everybody waves, id 2 of a, 1 of b
        file = torch.load(weights)
        file["model_ema"]["action_head.fc.bias"] = torch.tensor([-3.0, 3.0])
        torch.save(file, weights)
    opts = ["MODEL.WEIGHTS", weights, "TEST.AVA_PROTOCOL", "official_2020"]
    for name in ("a", "b"):
        Trainer.evaluate_weights(_config(folder, (), [name], *opts, output=name))
    of_a, of_b = (_scores(folder, name, name) for name in ("a", "b"))
    assert len(of_a) == 4
    for (second, action), scores in of_a.items():
        np.testing.assert_allclose(of_b[second, 3 - action], scores, atol=1e-6)
    assert of_b[1.0, 1].min() > 5 * of_b[1.0, 2].max()  # "wave" is first in b
    results = [
        json.loads((folder / name / "inference" / f"{name}_results.json").read_text())["per_class"]
        for name in ("a", "b")
    ]
    assert results[0] == pytest.approx(results[1], abs=1e-6)
    (line,) = [m for m in caplog.messages if "matched by name" in m]
    assert re.search(r"action 1 is 'walk' in the file and 'wave' in data set '\S+b.yaml'", line)

    # The model of b detects in the order of b; without a data set the checkpoint has the names.
    cfg = _config(folder, (), ["b"], "MODEL.WEIGHTS", weights)
    model = load_model(cfg)
    assert model.action_names == action_names_of(cfg, model) == ["wave", "walk"]
    assert model.trained_on == ["a.yaml"]
    assert model.action_head.fc.bias.tolist() == [3.0, -3.0]
    cfg = _config(folder, (), (), "MODEL.WEIGHTS", weights)
    detector = VideoActionDetector(cfg)
    caplog.clear()
    assert action_names_of(cfg, detector.model) == ["walk", "wave"]
    assert detector.model.trained_on == ["a.yaml"]
    assert caplog.messages == ["names of 2 actions: from the checkpoint"]
    assert detector.model.action_head.fc.bias.tolist() == [-3.0, 3.0]
    record = deployment_record(cfg, ClipShape.of(model, 4, None, None), detector.model)
    assert record["action_names"] == ["walk", "wave"]
    assert (record["frame_stride"], record["frame_shift"]) == (cfg.INPUT.CLIP.FRAME_STRIDE, 0)


def test_other_actions_are_not_scored(folder):
    _write(folder, "c", "a", ["walk", "wave", "sit"], (1, 2))
    _write(folder, "d", "a", ["wave"], ())
    weights = _train(folder, "a")
    opts = ["MODEL.WEIGHTS", weights, "TEST.AVA_PROTOCOL", "official_2020"]
    message = r"model_final.pth: 2 actions \('walk', 'wave'\) in the file, 3 actions .*c.yaml'; e"
    for use in (Trainer.evaluate_weights, load_model):
        with pytest.raises(CheckpointError, match=message):
            use(_config(folder, (), ["c"], *opts, num_actions=3))
    model = load_model(_config(folder, (), ["d"], *opts, num_actions=1))
    fitted = torch.load(weights)["model"]["action_head.fc.weight"]
    assert torch.equal(model.action_head.fc.weight, fitted[[1]]) and model.action_names == ["wave"]
    with pytest.raises(CheckpointError, match=r"action_head.fc.weight is \[2, 64\] in the file"):
        load_model(_config(folder, (), (), *opts, num_actions=80))

    # A training may begin with it; its classifier is new then, and so are the names.
    fine = _train(folder, "c", opts=opts, num_actions=3, output="fine")
    assert load_checkpoint_file(fine)["action_names"] == ["walk", "wave", "sit"]


def test_a_training_is_not_resumed_with_another_order(folder):
    _train(folder, "a")
    cfg = _config(folder, ["b"], (), "SOLVER.MAX_ITER", 3)
    with pytest.raises(CheckpointError, match="action 1 is 'walk' in the file and 'wave' in data"):
        Trainer(cfg).resume_or_load(resume=True)
    Trainer(_config(folder, ["a"], (), "SOLVER.MAX_ITER", 3)).resume_or_load(resume=True)


def test_data_sets_of_a_trainer_have_the_same_actions(folder):
    with pytest.raises(UserError, match="action 1 is 'walk' in data set .* and 'wave' in"):
        Trainer(_config(folder, ["a"], ["b"]))
    with pytest.raises(UserError, match="action 1 is 'walk' in data set .* and 'wave' in"):
        Trainer.evaluate_weights(_config(folder, (), ["a", "b"]))


OTHER_MODELS = {
    "queries": (
        ["MODEL.TUBER.NUM_QUERIES", 9],
        r"of another shape: query_embed.weight \(\[6, 64\] in the file, \[9, 64\] in the model\)",
    ),
    "layers": (
        ["MODEL.TUBER.DEC_LAYERS", 1],
        r"unknown to the model: transformer.decoder.layers.1.\S+, .* more. Use the config",
    ),
    "width": (["MODEL.TUBER.HIDDEN_DIM", 32], "of another shape: .* and [0-9]+ more"),
    "persons": (
        ["MODEL.PERSON_ONLY", True],
        "unknown to the model: action_head.context_proj",
    ),
    "architecture": (
        ["MODEL.META_ARCHITECTURE", "SeqFormer", "MODEL.CSN.OUT_FEATURES", ["res4", "res5"]],
        "transformer of a DETR, the model that of a Deformable DETR .MODEL.META_ARCHITECTURE",
    ),
    "depth": (["MODEL.CSN.DEPTH", 50], r"CSN-26 .*but MODEL.CSN.DEPTH is 50"),
    "trunk": (["MODEL.CSN.WIDTH_MULTIPLIER", 0.25], r"8 channels .*MODEL.CSN.WIDTH_MULTIPLIER"),
}


def test_another_model_is_not_resumed(folder):
    _train(folder, "a")
    for opts, message in OTHER_MODELS.values():
        trainer = Trainer(_config(folder, ["a"], (), "SOLVER.MAX_ITER", 3, *opts))
        with pytest.raises(CheckpointError, match=f"model_final.pth.*{message}") as caught:
            trainer.resume_or_load(resume=True)
        assert "\n" not in str(caught.value)


def test_converted_checkpoints_keep_the_names(folder):
    weights = _train(folder, "a")
    files = [folder / f"{name}.safetensors" for name in ("one", "two")]
    for file in files:
        assert run_command("convert", [weights, str(file)]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert run_command("convert", [str(files[0]), str(folder / "back.pth")]) == 0
    for path in (files[0], folder / "back.pth"):
        file = load_checkpoint_file(str(path))
        assert file["action_names"] == ["walk", "wave"]
        fitted = torch.load(weights)["model"]
        assert file["model"].keys() == fitted.keys()
        assert all(torch.equal(file["model"][key], value) for key, value in fitted.items())
