import logging

import pytest
import torch
from torch import nn
from vit_skeletons import vit_skeleton

from tubedet.engine import load_config
from tubedet.engine.optimizer import build_optimizer, parameter_groups
from tubedet.errors import UserError


def _model():
    model = nn.ModuleDict(
        {
            "backbone": nn.ModuleDict({"conv": nn.Linear(2, 2), "norm": nn.BatchNorm3d(2)}),
            "head": nn.Linear(2, 2),
        }
    )
    model["head"].bias.requires_grad = False
    return model


def _settings(groups, model):
    names = {p: n for n, p in model.named_parameters()}
    return {names[p]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}


def test_factors_and_decays_by_name_and_kind():
    model = _model()
    groups = parameter_groups(
        model,
        base_lr=1e-4,
        lr_factors=[["backbone.*", 0.1], ["*.norm.*", 0.5]],
        weight_decay=1e-2,
        weight_decay_norm=0.0,
        weight_decay_bias=1e-3,
    )
    assert _settings(groups, model) == {
        "backbone.conv.weight": (pytest.approx(1e-5), 1e-2),
        "backbone.conv.bias": (pytest.approx(1e-5), 1e-3),
        "backbone.norm.weight": (pytest.approx(5e-5), 0.0),
        "backbone.norm.bias": (pytest.approx(5e-5), 0.0),
        "head.weight": (1e-4, 1e-2),
    }


def test_a_pattern_without_parameters_is_reported(caplog):
    with caplog.at_level(logging.WARNING):
        parameter_groups(_model(), base_lr=1, lr_factors=[["trunk.*", 0.1]], weight_decay=0)
    assert "'trunk.*'" in caplog.text


def test_published_tuber_groups():
    cfg = load_config("configs/AVA/TubeR_CSN50_AVA21.yaml")
    model = nn.ModuleDict({"backbone": nn.Linear(1, 1), "temporal_pooling": nn.Linear(1, 1)})
    model["transformer"] = nn.LayerNorm(1)
    optimizer = build_optimizer(cfg, model)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert _settings(optimizer.param_groups, model) == {
        "backbone.weight": (pytest.approx(1e-5), 1e-4),
        "backbone.bias": (pytest.approx(1e-5), 1e-4),
        "temporal_pooling.weight": (pytest.approx(1e-5), 1e-4),
        "temporal_pooling.bias": (pytest.approx(1e-5), 1e-4),
        "transformer.weight": (1e-4, 1e-4),
        "transformer.bias": (1e-4, 1e-4),
    }


def test_weights_shrink_by_the_decay_alone_where_the_gradient_is_zero():
    """Decay added to the gradient would be divided by its own size, as gradients are."""
    cfg = load_config("configs/AVA/TubeR_CSN50_AVA21.yaml", ["SOLVER.WEIGHT_DECAY", 0.5])
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2), "head": nn.Linear(2, 2)}).double()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = build_optimizer(cfg, model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        rate = 1e-5 if name.startswith("backbone") else 1e-4
        expected = before[name] * (1 - rate * 0.5)
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-12, atol=0)


def test_the_layer_decay_multiplies_with_the_factors_of_names():
    """VideoMAE-Action-Detection with a body at half the rate of the head."""
    model = nn.ModuleDict({"backbone": vit_skeleton(depth=2), "head": nn.Linear(2, 2)})
    groups = parameter_groups(
        model,
        base_lr=1e-3,
        lr_factors=[["*", 3.0], ["backbone.*", 0.5], ["head.*", 1.0]],
        weight_decay=0.05,
        weight_decay_norm=0.02,
        weight_decay_bias=0.03,
        weight_decay_vit_vectors=0.0,
        layer_decay=0.5,
    )
    found = _settings(groups, model)
    rate = pytest.approx
    assert found == {
        "backbone.pos_embed": (rate(1e-3 * 0.5 / 8), 0.0),
        "backbone.patch_embed.proj.weight": (rate(1e-3 * 0.5 / 8), 0.05),
        "backbone.patch_embed.proj.bias": (rate(1e-3 * 0.5 / 8), 0.0),
        "backbone.blocks.0.gamma_1": (rate(1e-3 * 0.5 / 4), 0.0),
        "backbone.blocks.0.norm1.weight": (rate(1e-3 * 0.5 / 4), 0.0),
        "backbone.blocks.0.norm1.bias": (rate(1e-3 * 0.5 / 4), 0.0),
        "backbone.blocks.1.gamma_1": (rate(1e-3 * 0.5 / 2), 0.0),
        "backbone.blocks.1.norm1.weight": (rate(1e-3 * 0.5 / 2), 0.0),
        "backbone.blocks.1.norm1.bias": (rate(1e-3 * 0.5 / 2), 0.0),
        "backbone.norm.weight": (rate(1e-3 * 0.5), 0.0),
        "backbone.norm.bias": (rate(1e-3 * 0.5), 0.0),
        "head.weight": (rate(1e-3), 0.05),
        "head.bias": (rate(1e-3), 0.03),
    }


def test_the_vectors_of_a_vit_may_shrink_as_those_elsewhere():
    model = nn.ModuleDict({"backbone": vit_skeleton(depth=1)})
    groups = parameter_groups(
        model,
        base_lr=1.0,
        lr_factors=[],
        weight_decay=0.05,
        weight_decay_norm=0.02,
        weight_decay_bias=0.03,
        weight_decay_vit_vectors=None,
    )
    found = {name: decay for name, (_, decay) in _settings(groups, model).items()}
    assert found == {
        "backbone.pos_embed": 0.05,
        "backbone.patch_embed.proj.weight": 0.05,
        "backbone.patch_embed.proj.bias": 0.03,
        "backbone.blocks.0.gamma_1": 0.05,
        "backbone.blocks.0.norm1.weight": 0.02,
        "backbone.blocks.0.norm1.bias": 0.02,
        "backbone.norm.weight": 0.02,
        "backbone.norm.bias": 0.02,
    }


def test_a_layer_decay_without_a_vit_is_refused():
    with pytest.raises(UserError, match="SOLVER.LAYER_DECAY is 0.75, but the model has no ViT"):
        parameter_groups(_model(), base_lr=1, lr_factors=[], weight_decay=0, layer_decay=0.75)


def test_a_config_sets_the_layer_decay_and_the_decay_of_vectors():
    opts = ["SOLVER.LAYER_DECAY", 0.75, "SOLVER.BASE_LR", 1.0, "SOLVER.WEIGHT_DECAY", 0.05]
    model = nn.ModuleDict({"backbone": vit_skeleton(depth=1)})
    for more, of_vectors in ([], 0.0), (["SOLVER.WEIGHT_DECAY_VIT_VECTORS", 0.01], 0.01):
        optimizer = build_optimizer(load_config("", [*opts, *more]), model)
        found = _settings(optimizer.param_groups, model)
        assert found["backbone.patch_embed.proj.weight"] == (pytest.approx(0.75**2), 0.05)
        assert found["backbone.pos_embed"] == (pytest.approx(0.75**2), of_vectors)
        assert found["backbone.norm.weight"] == (1.0, of_vectors)
