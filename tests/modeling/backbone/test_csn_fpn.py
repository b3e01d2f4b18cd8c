import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_backbone

from tubedet.engine import load_config
from tubedet.modeling.backbone import CSN, TimePooledCSN

STAGES = ["res2", "res3", "res4", "res5"]
SMALL = ["MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125, "MODEL.FPN.OUT_CHANNELS", 16]
SMALL += ["MODEL.DEVICE", "cpu"]


def _csn():
    torch.manual_seed(0)
    return CSN(depth=26, width_multiplier=0.125, out_features=STAGES, last_stride=True)


def _pyramid(*opts):
    torch.manual_seed(0)
    return build_backbone(load_config("configs/Base-SparseRCNN.yaml", [*SMALL, *opts]))


@pytest.mark.parametrize(
    "pooling, expected",
    [
        ("avg", lambda x: x.mean(2)),
        ("max", lambda x: x.amax(2)),
        ("center", lambda x: x[:, :, x.shape[2] // 2]),
    ],
)
def test_every_stage_is_pooled_over_time(pooling, expected):
    csn = _csn().eval()
    clips = torch.randn(2, 3, 8, 64, 96)
    with torch.no_grad():
        maps = csn(clips)
        pooled = TimePooledCSN(csn, pooling)(clips)
    assert [maps[name].shape[2] for name in STAGES] == [8, 4, 2, 1]
    for name in STAGES:
        torch.testing.assert_close(pooled[name], expected(maps[name]))


def test_learned_pooling_has_weights_of_its_own_for_every_stage():
    backbone = TimePooledCSN(_csn(), "decode").eval()
    with torch.no_grad():
        pooled = backbone(torch.randn(1, 3, 8, 32, 32))
    shapes = backbone.output_shape()
    assert shapes["res3"] == ShapeSpec(channels=64, stride=8)
    for name in STAGES:
        side = 32 // shapes[name].stride
        assert pooled[name].shape == (1, shapes[name].channels, side, side)
        assert backbone.pooling[name].query.weight.shape == (1, shapes[name].channels)


def test_pyramid_has_the_official_names_levels_and_strides():
    pyramid = _pyramid()
    assert pyramid.output_shape() == {
        f"p{level}": ShapeSpec(channels=16, stride=2**level) for level in (2, 3, 4, 5)
    }
    assert pyramid.size_divisibility == 32
    names = {name.split(".")[0] for name in pyramid.state_dict()}
    assert names - {"bottom_up"} == {
        f"fpn_{part}{level}" for part in ("lateral", "output") for level in (2, 3, 4, 5)
    }


def test_pyramid_follows_the_fpn_keys():
    clips = torch.randn(1, 3, 4, 32, 32)
    summed = _pyramid().eval()
    averaged = _pyramid("MODEL.FPN.FUSE_TYPE", "avg").eval()  # the same weights
    with torch.no_grad():
        a, b = summed(clips), averaged(clips)
    assert torch.equal(a["p5"], b["p5"]) and not torch.allclose(a["p4"], b["p4"])
    normed = _pyramid("MODEL.FPN.NORM", "GN", "MODEL.FPN.OUT_CHANNELS", 32)
    assert isinstance(normed.fpn_output4.norm, torch.nn.GroupNorm)


@pytest.mark.parametrize("pooling", ["avg", "max", "center", "decode"])
def test_gradients_reach_every_parameter(pooling):
    pyramid = _pyramid("MODEL.SPARSE_RCNN.TEMPORAL_POOLING", pooling)
    maps = pyramid(torch.randn(2, 3, 8, 64, 64))
    assert [tuple(maps[f"p{i}"].shape) for i in (2, 5)] == [(2, 16, 16, 16), (2, 16, 2, 2)]
    sum(m.square().mean() for m in maps.values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in pyramid.parameters())


def test_a_clip_does_not_see_the_others_of_its_batch():
    pyramid = _pyramid().double().eval()
    clips = torch.randn(2, 3, 8, 32, 64, dtype=torch.float64)
    with torch.no_grad():
        together, alone = pyramid(clips), pyramid(clips[1:])
    for name, level in together.items():
        torch.testing.assert_close(level[1:], alone[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "opts, message",
    [
        (["MODEL.SPARSE_RCNN.TEMPORAL_POOLING", "none"], "TEMPORAL_POOLING is 'none'"),
        (["MODEL.SPARSE_RCNN.TEMPORAL_POOLING", "median"], "TEMPORAL_POOLING is 'median'"),
        (["MODEL.CSN.LAST_STRIDE", False], "MODEL.CSN.LAST_STRIDE True"),
        (["MODEL.CSN.OUT_FEATURES", ["res2", "res4"]], "MODEL.CSN.OUT_FEATURES"),
    ],
)
def test_wrong_settings_name_their_key(opts, message):
    with pytest.raises(ValueError, match=message):
        _pyramid(*opts)
