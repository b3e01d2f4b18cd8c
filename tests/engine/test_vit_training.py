"""A whole training of a small ViT by the rules of the published ones."""

import json

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng

from tubedet.engine import Trainer, load_config
from tubedet.engine.optimizer import build_optimizer

TOY = "configs/quick_schedules/TubeR_ViT_toy.yaml"
# VideoMAE-Action-Detection's rules on a small scale: 2 + 4 layers of a ViT of 4 blocks.
RECIPE = [
    "SOLVER.LR_FACTORS",
    [],
    "SOLVER.LAYER_DECAY",
    0.5,
    "SOLVER.WEIGHT_DECAY",
    0.05,
    "MODEL.VIT.DROP_PATH",
    0.2,
]
RECIPE += ["SOLVER.LR_SCHEDULER_NAME", "FullWarmupCosineLR", "SOLVER.WARMUP_FACTOR", 0.0]
RECIPE += ["SOLVER.BASE_LR", 0.001, "SOLVER.BASE_LR_END", 1e-6, "SOLVER.WARMUP_ITERS", 2]
RECIPE += ["INPUT.CLIP.FRAME_SHIFT", 1, "INPUT.CLIP.CROP_SHAPE", "square"]
RECIPE += ["INPUT.CLIP.CROP_SHORT_SIDE", 28, "INPUT.CLIP.MIN_BOX_SHARE", 0.1]
RECIPE += ["DATALOADER.SIZE_GROUPING", 8, "SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE"]
RECIPE += ["bfloat16", "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 2]
RECIPE += ["INPUT.MIN_SIZE_TRAIN", (32,), "INPUT.CLIP.NUM_FRAMES", 4, "DATASETS.TEST", ()]
RECIPE += ["MODEL.DEVICE", "cpu", "MODEL.VIT.DEPTH", 4]
PATCHES, NORM = "backbone.patch_embed.proj.weight", "backbone.norm.weight"


def _trained(data, folder, *opts, max_iter=3, resume=False):
    """The trainer after its last iteration, and the total loss of each iteration."""
    opts = [
        "DATASETS.TRAIN",
        (data,),
        "OUTPUT_DIR",
        str(folder),
        "SOLVER.MAX_ITER",
        max_iter,
        *opts,
    ]
    cfg = load_config(TOY, [*RECIPE, *opts])
    folder.mkdir(exist_ok=True)
    seed_all_rng(1)
    trainer = Trainer(cfg)
    losses = []
    run = trainer._trainer._write_metrics
    trainer._trainer._write_metrics = lambda loss, *args, **more: (
        losses.append({name: value.item() for name, value in loss.items()}),
        run(loss, *args, **more),
    )
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer, losses


@pytest.mark.parametrize(
    "config, prefix", [("TubeR_ViT_toy", "backbone."), ("D2_TubeR_ViT_toy", "backbone.body.")]
)
def test_the_layers_of_every_body_have_their_rates(config, prefix):
    cfg = load_config(f"configs/quick_schedules/{config}.yaml", RECIPE)
    model = build_model(cfg)
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = build_optimizer(cfg, model).param_groups
    found = {names[p]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    rate = pytest.approx
    depth = cfg.MODEL.VIT.DEPTH
    assert found[f"{prefix}patch_embed.proj.weight"] == (rate(0.001 / 2 ** (depth + 1)), 0.05)
    for i in range(depth):
        layer = rate(0.001 / 2 ** (depth - i))
        assert found[f"{prefix}blocks.{i}.attn.qkv.weight"] == (layer, 0.05)
        assert found[f"{prefix}blocks.{i}.attn.q_bias"] == (layer, 0.0)
        assert found[f"{prefix}blocks.{i}.norm2.weight"] == (layer, 0.0)
    assert found[f"{prefix}norm.bias"] == (0.001, 0.0)
    outside = {pair for name, pair in found.items() if not name.startswith(prefix)}
    assert outside == {(0.001, 0.05), (0.001, cfg.SOLVER.WEIGHT_DECAY_NORM)}


def test_a_training_moves_the_layers_as_far_as_their_rates_say(two_key_frames, tmp_path):
    trainer, losses = _trained(two_key_frames, tmp_path, max_iter=2)
    seed_all_rng(1)
    before = dict(Trainer.build_model(trainer.cfg).named_parameters())
    after = dict(trainer.model.named_parameters())
    # The first iteration has the rate 0, the second one the full rate, and Adam's steps are at
    # most about as long as the rate: the sum of two gradients over the root of the sum of squares.
    for name, factor in ((PATCHES, 1 / 32), (NORM, 1.0), ("backbone.blocks.3.norm1.bias", 0.5)):
        longest = (after[name] - before[name]).abs().max().item()
        assert 0.3 * factor < longest / 0.001 < 2 * factor, name
    assert len(losses) == 2 and all(value == value for value in losses[1].values())
    with open(tmp_path / "metrics.json") as lines:
        assert [json.loads(line)["lr"] for line in lines][-1] == pytest.approx(0.001)


def test_checkpointing_changes_no_number_of_a_training(two_key_frames, tmp_path):
    plain, losses = _trained(two_key_frames, tmp_path / "plain", "MODEL.VIT.CHECKPOINTING", False)
    other, same = _trained(two_key_frames, tmp_path / "less", "MODEL.VIT.CHECKPOINTING", True)
    assert len(losses) == 3 and losses[0] != losses[2]
    for found, expected in zip(same, losses):
        assert found == pytest.approx(expected, rel=1e-5)
    weights = other.model.state_dict()
    for name, weight in plain.model.state_dict().items():
        torch.testing.assert_close(weights[name], weight, rtol=1e-4, atol=1e-6)


def test_a_resumed_training_takes_another_layer_decay(two_key_frames, tmp_path):
    _trained(two_key_frames, tmp_path, max_iter=2)
    opts = ["SOLVER.LAYER_DECAY", 0.25]
    trainer, losses = _trained(two_key_frames, tmp_path, *opts, max_iter=3, resume=True)
    assert trainer.start_iter == 2 and len(losses) == 1
    rates = {
        name: group["initial_lr"]
        for group in trainer._trainer.optimizer.param_groups
        for name in group["param_names"]
    }
    assert rates[PATCHES] == pytest.approx(0.001 * 0.25**5) and rates[NORM] == 0.001
