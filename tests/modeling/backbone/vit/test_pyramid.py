"""The pyramid against what the published code computed, and what a fixture does not show."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone
from reference_cases import (
    VIDEO_VIT,
    ReferenceCase,
    assert_gradients_close,
    assert_relatively_close,
    assert_rows_close,
    stored_gradients,
)
from torch import nn

from tubedet.engine import load_config
from tubedet.modeling.backbone import ClipShapeSpec, ViT, ViTPyramid
from tubedet.modeling.backbone.vit.pyramid import ChannelNorm

SMALL = ["MODEL.VIT.SIZE", "custom", "MODEL.VIT.WIDTH", 16, "MODEL.VIT.DEPTH", 2]
SMALL += ["MODEL.VIT.NUM_HEADS", 2, "MODEL.VIT.MLP_WIDTH", 32, "MODEL.FPN.OUT_CHANNELS", 8]
SMALL += ["INPUT.CLIP.NUM_FRAMES", 4, "MODEL.BACKBONE.NAME"]


def _vit(width=16, **options):
    return ViT(width=width, depth=1, num_heads=2, mlp_width=8, num_frames=4, **options)


def _reference():
    case = ReferenceCase(VIDEO_VIT / "pyramid")
    config = case.meta["config"]
    model = ViTPyramid(_vit(config["in_dim"]), config["out_dim"])
    result = model.load_state_dict(case.state_dict(), strict=False)
    assert not result.unexpected_keys
    assert all(key.startswith("body.") for key in result.missing_keys)
    return case, model.double()


def _inputs(case, run):
    spec = case.meta["runs"][run]
    drawn = case.draw(f"in/{run}", spec["input"][1])
    return (np.float32(spec["scale"]) * drawn).double().requires_grad_()


@pytest.mark.parametrize("run", ["even", "odd", "small"])
def test_maps_and_gradients_are_the_published_ones(run):
    case, model = _reference()
    x = _inputs(case, run)
    maps = model.levels(x)
    shapes = case.meta["runs"][run]["level_shapes"]
    assert [list(y.shape) for y in maps.values()] == shapes
    loss = torch.zeros(())
    for level, y in enumerate(maps.values()):
        assert_rows_close(case, f"{run}/p{level}", y, 1e-7)
        stats = torch.stack([y.mean(), y.abs().mean(), y.abs().max()])
        assert_relatively_close(stats, case.outputs[f"{run}/p{level}_stats"], 1e-7)
        cotangent = case.draw(f"cotangent/{run}/p{level}", y.shape)
        loss = loss + (y * cotangent).sum() / y.numel() ** 0.5
    names = stored_gradients(case, run)
    assert names
    wanted = [x, *(model.get_parameter(name) for name in names)]
    gradients = dict(zip(["grad_input", *names], torch.autograd.grad(loss, wanted)))
    assert_gradients_close(case, run, gradients, 1e-7)


def test_float32_is_as_close_as_rounding_allows():
    case, model = _reference()
    with torch.no_grad():
        maps = model.float().levels(_inputs(case, "odd").float())
    for level, y in enumerate(maps.values()):
        assert_rows_close(case, f"odd/p{level}", y, 1e-4)


def test_a_vit_b_pyramid_has_the_published_parameters():
    with torch.device("meta"):
        pyramid = ViTPyramid(_vit(768)).lateral_convs
    assert sum(p.numel() for p in pyramid.parameters()) == 10_276_544
    state = pyramid.state_dict()
    assert len(state) == 24
    assert state["0.0.weight"].shape == (768, 384, 1, 2, 2)
    assert state["3.3.weight"].shape == (256, 256, 3, 3, 3)


def test_levels_have_cells_of_four_to_thirty_two_pixels_and_all_time_steps():
    model = ViTPyramid(_vit(), 8)
    assert model.output_shape() == {
        f"p{level}": ClipShapeSpec(8, 2**level, 2) for level in (2, 3, 4, 5)
    }
    assert model.size_divisibility == 32
    maps = model(torch.randn(2, 3, 6, 64, 96))
    for name, shape in model.output_shape().items():
        assert maps[name].shape == (2, 8, 3, 64 // shape.stride, 96 // shape.stride)


def test_a_subset_of_levels_leaves_no_idle_parameters_and_keeps_the_names():
    model = ViTPyramid(_vit(), 8, out_features=["p4", "p3"])
    assert model.size_divisibility == 16
    assert {name.split(".")[1] for name in model.lateral_convs.state_dict(prefix="x.")} == {
        "1",
        "2",
    }
    maps = model(torch.randn(1, 3, 4, 48, 32))
    assert list(maps) == ["p3", "p4"] == list(model.output_shape())
    sum(y.square().mean() for y in maps.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_channel_norm_sees_one_cell():
    x = torch.randn(2, 5, 3, 4, 2, dtype=torch.float64)
    found = ChannelNorm(5, eps=1e-6).double()(x)
    variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
    torch.testing.assert_close(found, (x - mean) / (variance + 1e-6).sqrt())


def test_hidden_padding_leaves_a_clip_as_it_is_alone():
    torch.manual_seed(0)
    model = ViTPyramid(_vit(mask_padding=True), 8).double().eval()
    clip = torch.randn(1, 3, 4, 70, 20, dtype=torch.float64)
    batch = torch.randn(2, 3, 4, 160, 96, dtype=torch.float64)
    batch[0] = 0
    batch[0, ..., :70, :20] = clip[0]
    with torch.no_grad():
        alone = model(F.pad(clip, (0, 12, 0, 26)), [(70, 20)])  # 96 x 32
        found = model(batch, [(70, 20), (160, 96)])
    for name, expected in alone.items():
        h, w = expected.shape[-2:]
        torch.testing.assert_close(found[name][0, ..., :h, :w], expected[0])
        assert not found[name][0, ..., h:, :].any() and not found[name][0, ..., w:].any()
        assert found[name][1].all(0).float().mean() > 0.99


@pytest.mark.parametrize("pooling", ["avg", "max", "center", "decode"])
def test_maps_pooled_over_time_are_those_of_the_pyramid(pooling):
    opts = [*SMALL, "build_vit_pyramid_2d_backbone"]
    torch.manual_seed(0)
    pooled = build_backbone(load_config("", [*opts, "MODEL.SPARSE_RCNN.TEMPORAL_POOLING", pooling]))
    x = torch.randn(2, 3, 4, 32, 64)
    maps = pooled(x)
    assert pooled.output_shape() == {
        f"p{level}": ShapeSpec(channels=8, stride=2**level) for level in (2, 3, 4, 5)
    }
    assert pooled.size_divisibility == 32
    with torch.no_grad():
        full = pooled.levels(pooled.body(x)["vit"])
    for name, y in maps.items():
        assert y.shape == (2, 8, 32 // 2 ** int(name[1]), 64 // 2 ** int(name[1]))
        if pooling != "decode":
            wanted = {"avg": full[name].mean(2), "max": full[name].amax(2)}
            expected = wanted.get(pooling, full[name][:, :, 1])
            torch.testing.assert_close(y, expected)
    sum(y.square().mean() for y in maps.values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in pooled.parameters())


def test_a_pyramid_without_time_needs_a_pooling():
    opts = [*SMALL, "build_vit_pyramid_2d_backbone", "MODEL.SPARSE_RCNN.TEMPORAL_POOLING", "none"]
    with pytest.raises(ValueError, match="MODEL.SPARSE_RCNN.TEMPORAL_POOLING is 'none'"):
        build_backbone(load_config("", opts))


def test_the_registry_builds_it_from_a_config():
    model = build_backbone(load_config("", [*SMALL, "build_vit_pyramid_backbone"]))
    assert isinstance(model, ViTPyramid) and isinstance(model.body, ViT)
    assert model.output_shape()["p3"] == ClipShapeSpec(8, 8, 2)
    assert [isinstance(x, nn.GELU) for x in model.lateral_convs[0]].count(True) == 1
    assert {name.split(".")[0] for name in model.state_dict()} == {"body", "lateral_convs"}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"out_features": ["p6"]}, "MODEL.VIT.OUT_FEATURES is"),
        ({"out_features": []}, "MODEL.VIT.OUT_FEATURES is"),
    ],
)
def test_wrong_levels_name_their_key(options, message):
    with pytest.raises(ValueError, match=message):
        ViTPyramid(_vit(), 8, **options)
    with pytest.raises(ValueError, match="MODEL.VIT.PATCH_SIZE is 14"):
        ViTPyramid(_vit(patch_size=14), 8)
