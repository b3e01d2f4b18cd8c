import json

import pytest
import torch
from reference_cases import FIXTURES
from torch import nn
from vit_skeletons import vit_skeleton

from tubedet.engine.layer_decay import layer_factors, vit_modules, vit_vectors
from tubedet.engine.optimizer import parameter_groups

RULES = FIXTURES.parent / "video_vit" / "optim_rules.json"


def test_a_layer_has_a_share_of_the_rate_of_the_next_one():
    factors = dict(layer_factors(vit_skeleton(depth=3), 0.5))
    assert factors["pos_embed"] == factors["patch_embed.proj.weight"] == 0.5**4
    assert [factors[f"blocks.{i}.gamma_1"] for i in range(3)] == [0.125, 0.25, 0.5]
    assert factors["norm.weight"] == factors["norm.bias"] == 1.0
    assert len(factors) == 1 + 2 + 3 * 3 + 2


def test_vits_are_found_wherever_they_are():
    body = nn.ModuleDict({"body": vit_skeleton(depth=1), "lateral_convs": nn.ModuleList()})
    model = nn.ModuleDict({"backbone": body, "blocks": nn.ModuleList([nn.Linear(1, 1)])})
    assert list(vit_modules(model)) == ["backbone.body"]
    factors = dict(layer_factors(model, 0.75))
    assert factors["backbone.body.blocks.0.norm1.bias"] == 0.75
    assert not any(name.startswith("blocks.") for name in factors)
    assert vit_vectors(model) == set(factors) - {"backbone.body.patch_embed.proj.weight"}
    assert not vit_modules(model["blocks"])


def test_factors_and_decays_are_those_of_the_published_code():
    rules = json.loads(RULES.read_text())
    expected = {
        name: tuple(pair)
        for name, pair in rules["parameters"]["name -> [lr factor, weight decay]"].items()
    }
    model = _module_of(expected)
    groups = parameter_groups(
        model,
        base_lr=1.0,
        lr_factors=[],
        weight_decay=rules["weight_decay"],
        weight_decay_vit_vectors=0.0,
        layer_decay=rules["layer_decay"],
    )
    names = {p: n for n, p in model.named_parameters()}
    found = {names[p]: (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert len(expected) == 66 and found.keys() == expected.keys()
    for name, (factor, decay) in expected.items():
        assert found[name] == (pytest.approx(factor, rel=1e-12), decay), name


def _module_of(names):
    """A module with parameters of these names: norms have vectors, other weights are matrices."""
    model = nn.Module()
    for name in names:
        *path, last = name.split(".")
        module = model
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, nn.ModuleList() if part == "blocks" else nn.Module())
            module = module.get_submodule(part)
        is_matrix = last == "weight" and "norm" not in path[-1]
        shape = (2, 2) if is_matrix else (2,)
        module.register_parameter(last, nn.Parameter(torch.zeros(shape)))
    return model
