import logging

import pytest
import torch
from torch import nn

from tubedet.engine import load_config
from tubedet.engine.optimizer import build_optimizer, parameter_groups


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
