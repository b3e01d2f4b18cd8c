"""Every config in configs/ builds, trains and detects."""

from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model

from tubedet.engine import load_config
from tubedet.engine.optimizer import build_optimizer

ROOT = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(p for p in ROOT.rglob("*.yaml") if not p.name.startswith("Base-"))

# Short clips are fast; 16 frames leave the coarsest map two steps, as SeqFormer needs. A few layers
# of the largest parts tell whether the keys fit together.
SMALL = ["MODEL.DEVICE", "cpu", "INPUT.CLIP.NUM_FRAMES", 16, "MODEL.SEQFORMER.NUM_STEPS", 2]
SMALL += ["MODEL.VIT.SIZE", "custom", "MODEL.VIT.WIDTH", 96, "MODEL.VIT.DEPTH", 2]
SMALL += ["MODEL.VIT.NUM_HEADS", 4, "MODEL.VIT.MLP_WIDTH", 192, "MODEL.STMIXER.NUM_STAGES", 2]
SMALL += ["MODEL.CLASS_QUERY.ENC_LAYERS", 1, "MODEL.CLASS_QUERY.DEC_LAYERS", 2]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config_trains_and_detects_a_tiny_clip(path, make_clip_input):
    torch.manual_seed(0)
    if "lateral" in load_config(str(path)).MODEL.BACKBONE.NAME:  # pools to the steps of STMixer
        opts = [*SMALL, "MODEL.STMIXER.NUM_STEPS", 2]
    else:
        opts = SMALL
    cfg = load_config(str(path), opts)
    model = build_model(cfg)
    actions = cfg.MODEL.NUM_ACTIONS
    inputs = [
        make_clip_input(16, 40, 56, actions),
        make_clip_input(16, 48, 40, actions, num_boxes=1),
    ]
    losses = model.train()(inputs)
    assert losses and all(name.startswith("loss_") for name in losses)
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total)
    assert sum(len(group["params"]) for group in build_optimizer(cfg, model).param_groups) == sum(
        p.requires_grad for p in model.parameters()
    )
    with torch.no_grad():
        results = model.eval()(inputs)
    for clip_input, result in zip(inputs, results):
        found = result["instances"]
        assert found.image_size == (clip_input["height"], clip_input["width"])
        assert found.action_scores.shape == (len(found), model.num_actions)
        assert (found.action_scores >= 0).all() and (found.action_scores <= 1).all()
        assert len(found.pred_boxes) == len(found.scores) == len(found)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_config_names_registered_data_sets_and_a_real_schedule(path):
    cfg = load_config(str(path))
    assert set(cfg.DATASETS.TRAIN + cfg.DATASETS.TEST) <= set(DatasetCatalog.list())
    assert all(step < cfg.SOLVER.MAX_ITER for step in cfg.SOLVER.STEPS)
    assert cfg.SOLVER.CHECKPOINT_PERIOD <= cfg.SOLVER.MAX_ITER
