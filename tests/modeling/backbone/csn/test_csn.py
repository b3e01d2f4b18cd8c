import pytest
import torch
from detectron2.modeling import build_backbone

from tubedet.engine import load_config
from tubedet.layers import FrozenBatchNorm3d
from tubedet.modeling import CSN, ClipShapeSpec

# Specification of the published trunks, without CSN-50's unused classifier.
PUBLISHED_PARAMETERS = {50: 12_475_472 - 163_920, 152: 28_883_968}


@pytest.mark.parametrize("depth", PUBLISHED_PARAMETERS)
def test_parameter_count_is_the_published_one(depth):
    count = sum(p.numel() for p in CSN(depth=depth).parameters())
    assert count == PUBLISHED_PARAMETERS[depth]


def test_stages_have_the_announced_shapes():
    names = ["res2", "res3", "res4", "res5"]
    csn = CSN(depth=26, width_multiplier=0.25, out_features=names).eval()
    shapes = csn.output_shape()
    assert shapes["res3"] == ClipShapeSpec(channels=128, stride=8, temporal_stride=2)
    assert shapes["res5"] == ClipShapeSpec(channels=512, stride=16, temporal_stride=8)
    with torch.no_grad():
        maps = csn(torch.randn(1, 3, 9, 50, 70))
    for name in names:
        spec = shapes[name]
        size = [-(-9 // spec.temporal_stride), -(-50 // spec.stride), -(-70 // spec.stride)]
        assert list(maps[name].shape) == [1, spec.channels, *size]


def test_strides_are_arguments():
    csn = CSN(depth=26, width_multiplier=0.25, last_stride=True, temporal_strides=(1, 1, 2, 1))
    assert csn.output_shape() == {"res5": ClipShapeSpec(512, 32, 2)}
    csn = CSN(depth=26, width_multiplier=0.25, spatial_strides=(1, 2, 1))
    assert csn.output_shape() == {"res5": ClipShapeSpec(512, 8, 8)}


def test_a_subset_of_stages_leaves_no_idle_parameters():
    csn = CSN(depth=26, width_multiplier=0.25, out_features=["res3"])
    maps = csn(torch.randn(1, 3, 4, 16, 16))
    maps["res3"].sum().backward()
    assert list(maps) == ["res3"]
    assert all(p.grad is not None for p in csn.parameters())


def test_freezing_stops_gradients_and_statistics():
    csn = CSN(depth=26, width_multiplier=0.25, freeze_at=2).train()
    before = {k: v.clone() for k, v in csn.state_dict().items()}
    csn(torch.randn(2, 3, 4, 32, 32))["res5"].sum().backward()
    frozen = {name.split(".")[0] for name, p in csn.named_parameters() if not p.requires_grad}
    assert frozen == {"stem", "res2"}
    changed = {
        k.split(".")[0] for k, v in csn.state_dict().items() if not torch.equal(v, before[k])
    }
    assert changed == {"res3", "res4", "res5"}


def test_frozen_norm_everywhere():
    csn = CSN(depth=26, width_multiplier=0.25, norm="FrozenBN")
    norms = [m for m in csn.modules() if "BatchNorm" in type(m).__name__]
    assert len(norms) == 1 + 8 * 3 + 4
    assert all(isinstance(m, FrozenBatchNorm3d) for m in norms)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"depth": 34}, "MODEL.CSN.DEPTH is 34"),
        ({"out_features": ["res6"]}, "MODEL.CSN.OUT_FEATURES"),
        ({"temporal_strides": (1, 2)}, "MODEL.CSN.TEMPORAL_STRIDES"),
        ({"spatial_strides": (1, 2, 2, 1)}, "MODEL.CSN.SPATIAL_STRIDES"),
        ({"freeze_at": 7}, "MODEL.BACKBONE.FREEZE_AT is 7"),
    ],
)
def test_wrong_arguments_name_their_key(arguments, message):
    with pytest.raises(ValueError, match=message):
        CSN(**{"depth": 26, "width_multiplier": 0.125, **arguments})


def test_the_registry_builds_it_from_a_config():
    cfg = load_config("", ["MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.5])
    backbone = build_backbone(cfg)
    assert isinstance(backbone, CSN)
    assert backbone.output_shape()["res5"].channels == 1024
