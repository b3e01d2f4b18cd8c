"""Maps of a CNN at one width and one number of time steps."""

import pytest
import torch
from detectron2.modeling import build_backbone

from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.modeling.backbone import ClipShapeSpec

OPTIONS = ["MODEL.DEVICE", "cpu", "MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125]
OPTIONS += ["MODEL.FPN.OUT_CHANNELS", 16]


def _backbone(*options):
    torch.manual_seed(0)
    cfg = load_config("configs/Base-STMixer.yaml", [*OPTIONS, *options])
    return build_backbone(cfg).eval()


def test_all_maps_have_one_width_and_the_same_steps():
    backbone = _backbone()
    with torch.no_grad():
        maps = backbone(torch.randn(2, 3, 32, 64, 96))
    assert {name: tuple(x.shape) for name, x in maps.items()} == {
        f"p{2 + level}": (2, 16, 4, 64 // stride, 96 // stride)
        for level, stride in enumerate((4, 8, 16, 32))
    }
    assert backbone.output_shape()["p3"] == ClipShapeSpec(16, 8, 8)
    assert backbone.size_divisibility == 32


def test_pooling_before_the_projection_is_that_after_it():
    backbone = _backbone().double()
    clips = torch.randn(1, 3, 32, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        maps = list(backbone.body(clips).values())
        found = list(backbone(clips).values())
        for conv, x, y in zip(backbone.lateral_convs, maps, found, strict=True):
            torch.testing.assert_close(backbone.pooling(conv(x)), y)


def test_a_step_is_the_mean_around_its_frame():
    backbone = _backbone()
    (conv, *_) = backbone.lateral_convs
    steps = torch.arange(32.0).view(1, 1, 32, 1, 1).expand(1, conv.in_channels, 32, 1, 1)
    # Steps 8k - 4 to 8k + 4 of those that exist.
    assert backbone.pooling(steps)[0, 0, :, 0, 0].tolist() == [2, 8, 16, 24]
    assert (conv.bias == 0).all() and conv.kernel_size == (1, 1, 1)
    # Kaiming's uniform numbers with slope 1: up to the root of 3 / inputs.
    limit = (3 / conv.in_channels) ** 0.5
    assert 0.9 * limit < conv.weight.abs().max() <= limit


def test_without_the_last_stride_two_maps_are_of_one_size():
    backbone = _backbone("MODEL.CSN.LAST_STRIDE", False)
    assert [shape.stride for shape in backbone.output_shape().values()] == [4, 8, 16, 16]
    assert backbone.size_divisibility == 16


@pytest.mark.parametrize("number, reason", [(0, "at least 1"), (5, "32 frames")])
def test_a_number_of_steps_that_does_not_fit_is_named(number, reason):
    with pytest.raises(UserError, match=f"MODEL.STMIXER.NUM_STEPS is {number}.*{reason}"):
        _backbone("MODEL.STMIXER.NUM_STEPS", number)


def test_a_clip_of_other_length_names_the_key():
    with pytest.raises(UserError, match="which MODEL.STMIXER.NUM_STEPS 4 does not divide"):
        _backbone()(torch.zeros(1, 3, 24, 32, 32))
