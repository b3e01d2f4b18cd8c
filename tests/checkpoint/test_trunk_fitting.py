"""Backbones of another kind, or of other numbers, than the model's."""

import re

import published_trunks
import pytest
import torch
from small_vits import body, load, model, tiny
from torch import nn

from tubedet.checkpoint import CheckpointError
from tubedet.checkpoint.trunk_fitting import find_trunk


@pytest.mark.parametrize(
    "options, weights, message",
    [
        ({}, {"width": 384, "num_heads": 6}, "holds a ViT-S of width 384, but the model's has 16"),
        ({}, {"width": 24}, r"a video ViT of width 24, .*; set MODEL.VIT.SIZE or MODEL.VIT.WIDTH"),
        ({}, {"depth": 3}, "of depth 3, but the model's has 2; set MODEL.VIT.SIZE or .*VIT.DEPTH"),
        ({}, {"mlp_width": 48}, "of MLP width 48, but .* has 32; set .* or MODEL.VIT.MLP_WIDTH"),
        ({}, {"patch_size": 14}, "of patch size 14, .* has 16; set MODEL.VIT.PATCH_SIZE$"),
        (
            {},
            {"tubelet": 1},
            "of tubelet 1, but the model's has 2; set MODEL.VIT.TUBELET 1, or make a file for 2 "
            "with tubedet convert --tubelet 2$",
        ),
        ({"tubelet": 1}, {}, "of tubelet 2, .*TUBELET 2, or make a file for 1 with .* 1$"),
        ({}, {"init_values": 0.1}, "has the LayerScale .* model lacks it; .*INIT_VALUES 1e-5"),
        ({"init_values": 0.1}, {}, "lacks the LayerScale .* model has it; set .*INIT_VALUES 0"),
    ],
)
@pytest.mark.parametrize("pyramid", [False, True])
def test_other_numbers_are_told_with_their_key(tmp_path, options, weights, message, pyramid):
    module = model(pyramid=pyramid, **options)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"x.pth .*{message}") as caught:
        load(module, body(**weights), tmp_path / "x.pth", min_matched=0.0)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_the_number_of_heads_is_not_in_a_file(tmp_path):
    assert load(model(num_heads=4), body(), tmp_path / "x.pth").share == 1.0


def test_a_csn_is_no_vit(tmp_path):
    csn = published_trunks.random_csn(0, depth=26, width_multiplier=0.125)
    with pytest.raises(CheckpointError, match="holds a CSN, but the model has a video ViT"):
        load(model(), published_trunks.torchvision(csn), tmp_path / "x.pth", min_matched=0.0)
    module = nn.ModuleDict({"backbone": csn})
    with pytest.raises(CheckpointError, match=r"holds a video ViT, .* a CSN \(MODEL.BACKBONE.NAME"):
        load(module, body(), tmp_path / "x.pth", min_matched=0.0)


def test_the_trunk_is_found_wherever_it_is():
    vit = tiny()
    trunk = find_trunk(vit)
    assert (trunk.network, trunk.prefix, trunk.pyramid) == (vit, "", None)
    assert trunk.has("norm.weight") and not trunk.has("head.weight")
    module = nn.ModuleDict({"a": nn.ModuleDict({"backbone": model(pyramid=True)["backbone"]})})
    trunk = find_trunk(module)
    assert (trunk.prefix, trunk.pyramid) == ("a.backbone.body.", "a.backbone.")
    keys = list(module.state_dict())
    assert sum(map(trunk.has, keys)) == len(keys) == 30 + 24
    assert sum(bool(re.search("lateral_convs", key)) for key in filter(trunk.has, keys)) == 24
    assert find_trunk(nn.Linear(1, 1)).network is None
