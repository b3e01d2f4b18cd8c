"""SlowFast and SlowOnly: against what the published code computed, and what a fixture lacks."""

import pytest
import torch
from detectron2.modeling import build_backbone
from reference_cases import assert_relatively_close
from stmixer_cases import drawn, stmixer_case

from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.layers import FrozenBatchNorm3d
from tubedet.modeling.backbone import ClipShapeSpec, SlowFast
from tubedet.modeling.backbone.slowfast.stage import NonLocal, ResidualStage

# Of 16 channels, whose fast pathway has two.
SMALL = {"width": 16}


def test_a_stage_with_a_non_local_layer_is_the_published_one():
    case = stmixer_case("trunk_stage")
    config = case.meta["config"]
    stage = ResidualStage(
        [config["dim_in"]],
        [config["dim_inner"]],
        config["blocks"],
        [3],
        config["blocks_with_temporal_kernel_3"],
        config["stride"],
        config["nonlocal_after"],
        "BN",
    )
    missing, unexpected = stage.load_state_dict(case.state_dict(), strict=False)
    assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)
    stage.double().eval()
    x = drawn(case, "x", config["x"][1])
    (y,) = stage([x])
    rows = y.movedim(1, -1).flatten(0, 3)[case.outputs["rows"]]
    assert_relatively_close(rows, case.outputs["tokens"], 1e-8)
    names = [key[5:-4] for key in case.outputs.files if key.startswith("grad/") and "_idx" in key]
    assert len(names) == 3
    wanted = [x if name == "x" else stage.get_parameter(name) for name in names]
    loss = (y * case.draw("cotangent/y", y.shape)).sum()
    for name, gradient in zip(names, torch.autograd.grad(loss, wanted), strict=True):
        found = gradient.flatten()[case.outputs[f"grad/{name}_idx"]]
        assert_relatively_close(found, case.outputs[f"grad/{name}"], 1e-7)


@pytest.mark.parametrize(
    "options, channels, num_parameters, num_keys",
    [
        ({"pathways": "slow"}, (256, 512, 1024, 2048), 31_634_496, 318),
        ({}, (288, 576, 1152, 2304), 33_644_488, 660),
        (
            {"depth": 101, "non_local": True, "fusion_kernel": 5},
            (288, 576, 1152, 2304),
            59_158_088,
            1311,
        ),
    ],
)
def test_published_sizes_have_the_published_parameters(options, channels, num_parameters, num_keys):
    with torch.device("meta"):
        model = SlowFast(**options)
    assert sum(p.numel() for p in model.parameters()) == num_parameters
    assert len(model.state_dict()) == num_keys
    shapes = model.output_shape().values()
    assert tuple(shape.channels for shape in shapes) == channels
    assert [shape.stride for shape in shapes] == [4, 8, 16, 32]


@pytest.mark.parametrize("pathways, ratio", [("slow", 1), ("slowfast", 4)])
def test_maps_have_the_shapes_that_are_said(pathways, ratio):
    model = SlowFast(pathways=pathways, **SMALL).eval()
    with torch.no_grad():
        maps = model(torch.randn(2, 3, 8, 33, 47))
    for name, shape in model.output_shape().items():
        sides = (-(-33 // shape.stride), -(-47 // shape.stride))
        assert maps[name].shape == (2, shape.channels, 8 // ratio, *sides)
        assert shape.temporal_stride == ratio


def test_the_slow_pathway_sees_the_first_and_the_last_frame():
    model = SlowFast(**SMALL)
    clip = torch.zeros(1, 3, 32, 8, 8)
    assert model._slow_frames(clip) == [0, 4, 8, 13, 17, 22, 26, 31]
    assert model._slow_frames(clip[:, :, :4]) == [0]
    with pytest.raises(UserError, match="6 frames, which MODEL.SLOWFAST.RATIO 4"):
        model(clip[:, :, :6])


def test_the_non_local_mean_is_that_of_all_products():
    torch.manual_seed(0)
    layer = NonLocal(4, "BN").double().eval()
    x = torch.randn(1, 4, 2, 4, 4, dtype=torch.float64)
    pooled = torch.nn.functional.max_pool3d(x, 2)
    query, key, value = (
        conv(y).flatten(2)[0].t()
        for conv, y in ((layer.conv_theta, x), (layer.conv_phi, pooled), (layer.conv_g, pooled))
    )
    mean = (query @ key.t() / 4) @ value
    expected = x + layer.bn(layer.conv_out(mean.t().view(1, 2, 2, 4, 4)))
    torch.testing.assert_close(layer(x), expected)


def test_only_wanted_maps_are_made_and_only_some_parts_frozen():
    model = SlowFast(out_features=["res3"], freeze_at=2, **SMALL)
    assert not hasattr(model, "s4") and list(model.output_shape()) == ["res3"]
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"s2_fuse", "s3"}
    assert isinstance(model.s1_fuse.bn, FrozenBatchNorm3d)


def test_norms_in_evaluation_mode_train_their_weights_alone():
    torch.manual_seed(0)
    model = SlowFast(pathways="slow", out_features=["res2"], norm="EvalBN", **SMALL)
    assert (
        model.state_dict().keys()
        == SlowFast(pathways="slow", out_features=["res2"], **SMALL).state_dict().keys()
    )
    norm = model.s1.pathway0_stem["bn"]
    torch.nn.init.uniform_(norm.running_mean), torch.nn.init.uniform_(norm.running_var, 0.5, 1)
    before = norm.running_mean.clone(), norm.running_var.clone()
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        expected = model.eval()(clips)["res2"]
    found = model.train()(clips)["res2"]
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    assert norm.weight.grad.abs().min() > 0 and norm.bias.grad.abs().min() > 0
    assert torch.equal(norm.running_mean, before[0]) and torch.equal(norm.running_var, before[1])
    frozen = SlowFast(pathways="slow", norm="EvalBN", freeze_at=1, **SMALL)
    assert isinstance(frozen.s1.pathway0_stem["bn"], FrozenBatchNorm3d)


def test_from_a_config_under_lateral_convolutions():
    name = ["MODEL.BACKBONE.NAME", "build_slowfast_lateral_backbone", "MODEL.SLOWFAST.WIDTH", 16]
    options = ["MODEL.DEVICE", "cpu", *name, "MODEL.FPN.OUT_CHANNELS", 8]
    options += ["INPUT.CLIP.NUM_FRAMES", 16]
    backbone = build_backbone(load_config("configs/Base-STMixer.yaml", options)).eval()
    assert backbone.output_shape()["p5"] == ClipShapeSpec(8, 32, 4)
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, 16, 32, 64))
    assert [tuple(x.shape[2:]) for x in maps.values()] == [
        (4, 32 // stride, 64 // stride) for stride in (4, 8, 16, 32)
    ]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"pathways": "fast"}, "MODEL.SLOWFAST.PATHWAYS is 'fast'"),
        ({"depth": 34}, "MODEL.SLOWFAST.DEPTH is 34"),
        ({"non_local": True}, "NON_LOCAL needs MODEL.SLOWFAST.DEPTH 101"),
        ({"out_features": ["res6"]}, "MODEL.SLOWFAST.OUT_FEATURES"),
        ({"freeze_at": 6}, "MODEL.BACKBONE.FREEZE_AT is 6"),
    ],
)
def test_what_does_not_exist_is_named(options, message):
    with pytest.raises(UserError, match=message):
        SlowFast(**SMALL, **options)
