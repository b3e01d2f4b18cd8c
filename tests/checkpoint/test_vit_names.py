"""Video ViTs under the names, and in the containers, of their sources."""

import argparse
import logging

import pytest
import released_tables
import torch
from small_vits import TINY, body, load, model, tiny
from torch import nn

from tubedet.checkpoint import CheckpointError, TubedetCheckpointer, to_tubedet_names
from tubedet.checkpoint.vit_names import (
    STMIXER,
    VIDEOMAE,
    VIT_ACTION_DETECTOR,
    VIT_BODY,
    VIT_CLASSIFIER,
)
from tubedet.checkpoint.weight_loading import load_weights
from tubedet.modeling.backbone.vit import SIZES, ViT, ViTPyramid
from tubedet.modeling.backbone.vit.position_table import resize_table, sine_table

NEW = ["backbone.norm.weight", "backbone.norm.bias"]


def classifier(weights):
    weights = {key: value for key, value in weights.items() if not key.startswith("norm.")}
    extra = {"fc_norm.weight": 16, "fc_norm.bias": 16, "head.bias": 400}
    extra = {key: torch.randn(size) for key, size in extra.items()}
    return {**weights, **extra, "head.weight": torch.randn(400, 16)}


def pretrained(weights):
    weights = {f"encoder.{key}": value for key, value in weights.items()}
    extra = ("mask_token", "encoder_to_decoder.weight", "decoder.blocks.0.attn.qkv.weight")
    return {**weights, **dict.fromkeys(extra, torch.zeros(3)), "decoder.norm.bias": torch.zeros(2)}


def tuned(weights):
    return {**weights, "head.weight": torch.zeros(80, 16), "head.bias": torch.zeros(80)}


TRAINING = {"optimizer": {"step": 3}, "epoch": 29, "scaler": {}, "args": argparse.Namespace(lr=1)}
FILES = {
    "self-supervised": (pretrained, lambda w: {"model": w, **TRAINING}, VIDEOMAE, 4),
    "DeepSpeed classifier": (classifier, lambda w: {"module": w, "ds": set()}, VIT_CLASSIFIER, 4),
    "classifier of UMT": (classifier, lambda w: {"model": w}, VIT_CLASSIFIER, 4),
    "tuned on AVA": (tuned, lambda w: {"model": w, **TRAINING}, VIT_ACTION_DETECTOR, 2),
    "of DeepSpeed": (tuned, lambda w: {"module": w}, VIT_ACTION_DETECTOR, 2),
    "bare": (dict, lambda w: w, VIT_BODY, 0),
    "wrapped": (dict, lambda w: {f"module.{k}": v for k, v in w.items()}, VIT_BODY, 0),
}


@pytest.mark.parametrize("pyramid", [False, True])
@pytest.mark.parametrize("kind", FILES)
def test_a_body_is_read_from_every_kind_of_file(tmp_path, kind, pyramid):
    publish, contain, layout, num_unused = FILES[kind]
    module, weights = model(pyramid=pyramid), body()
    report = load(module, contain(publish(weights)), tmp_path / "x.pth", min_matched=1.0)
    vit = module["backbone"].body if pyramid else module["backbone"]
    for key, value in vit.state_dict().items():
        if layout is VIT_CLASSIFIER and key.startswith("norm."):
            assert not torch.equal(value, weights[key])
        else:
            assert torch.equal(value, weights[key]), key
    assert report.layout == layout.name and report.share == 1.0
    assert len(report.ignored) == num_unused
    assert not report.missing and not report.unexpected and not report.mismatched
    new = [key for key in report.new if ".lateral_convs." not in key]
    assert len(new) == (2 if layout is VIT_CLASSIFIER else 0)
    # 24 weights of the pyramid are in none of these files.
    assert len(report.new) - len(new) == (24 if pyramid else 0)


def test_what_is_new_and_what_is_not_used_are_told(tmp_path):
    report = load(model(), {"module": classifier(body())}, tmp_path / "x.pth")
    assert list(report.new) == NEW and report.to_json()["new"] == NEW
    unused = ["fc_norm.weight", "fc_norm.bias", "head.bias", "head.weight"]
    assert sorted(report.ignored) == sorted(unused)
    assert "2 new by design, 0 of another shape, 0 unused, 4 not used by design" in report.summary()
    details = report.details()
    for key in NEW:
        assert f"new by design       {key}" in details
    assert "not used by design  fc_norm.weight" in details
    # A file with a last norm must have all of it.
    lacking = {key: value for key, value in body().items() if key != "norm.bias"}
    report = load(model(), tuned(lacking), tmp_path / "x.pth")
    assert list(report.missing) == ["backbone.norm.bias"] and not report.new


def test_stmixers_body_and_pyramid_are_read(tmp_path):
    source = model(7, pyramid=True)["backbone"]
    weights = {f"backbone.{key}": value for key, value in source.body.state_dict().items()}
    laterals = {k: v for k, v in source.state_dict().items() if k.startswith("lateral_convs.")}
    queries = [f"stm_head.init_{kind}_queries.weight" for kind in ("spatial", "temporal")]
    weights |= {**laterals, **dict.fromkeys(queries, torch.zeros(4, 8))}
    for prefix in ("", "module."):
        content = {"model": {prefix + key: value for key, value in weights.items()}}
        content |= {"iteration": 3, "person_pool": argparse.Namespace(cache={})}
        module = model(pyramid=True)
        report = load(module, content, tmp_path / "x.pth", min_matched=1.0)
        assert report.layout == STMIXER.name and len(report.matched) == 30 + 24
        assert sorted(report.ignored) == sorted(queries) and not report.new
        for key, value in source.state_dict().items():
            assert torch.equal(module["backbone"].state_dict()[key], value), key
    # A ViT alone takes the body alone, and a pyramid of fewer maps their levels alone.
    plain = model()
    report = load(plain, content, tmp_path / "x.pth", min_matched=1.0)
    assert len(report.matched) == 30 and len(report.ignored) == 26
    few = nn.ModuleDict({"backbone": ViTPyramid(tiny(), 8, out_features=["p4", "p5"])})
    report = load(few, content, tmp_path / "x.pth", min_matched=1.0)
    assert len(report.matched) == 30 + 8 and len(report.ignored) == 2 + 16
    assert not report.unexpected and not report.new


def test_one_bias_for_three_loses_that_of_the_keys(tmp_path):
    weights = body()
    for index in range(2):
        place = f"blocks.{index}.attn."
        q, v = (weights.pop(f"{place}{kind}_bias") for kind in "qv")
        weights[f"{place}qkv.bias"] = torch.cat((q, torch.full((16,), 7.0), v))
    module = model()
    report = load(module, weights, tmp_path / "x.pth", min_matched=1.0)
    expected = body()
    for key, value in module["backbone"].state_dict().items():
        assert torch.equal(value, expected[key])
    assert not report.unexpected and not report.missing
    named = to_tubedet_names(weights)
    assert named.names_in_file["backbone.blocks.1.attn.v_bias"] == "blocks.1.attn.qkv.bias"


def test_a_backbone_of_somebodys_own_keeps_its_biases(tmp_path):
    block = nn.ModuleDict({"attn": nn.ModuleDict({"qkv": nn.Linear(4, 12)})})
    own = nn.ModuleDict({"backbone": nn.ModuleDict({"blocks": nn.ModuleList([block])})})
    weights = {key: torch.full_like(value, 3.0) for key, value in own.state_dict().items()}
    torch.save({"model": weights}, tmp_path / "own.pth")
    TubedetCheckpointer(own, min_matched=1.0).load(str(tmp_path / "own.pth"))
    assert torch.equal(block["attn"]["qkv"].bias, torch.full((12,), 3.0))
    # For a model with our ViT they are joined by whatever name the file came.
    weights = {f"backbone.{key}": value for key, value in body().items()}
    for index in range(2):
        place = f"backbone.blocks.{index}.attn."
        q, v = (weights.pop(f"{place}{kind}_bias") for kind in "qv")
        weights[f"{place}qkv.bias"] = torch.cat((q, q, v))
    module = model()
    assert load(module, weights, tmp_path / "x.pth", min_matched=1.0).layout == "tubedet's names"
    for key, value in module["backbone"].state_dict().items():
        assert torch.equal(value, body()[key])
    weights["backbone.blocks.1.attn.scale"] = torch.ones(2, 1, 1)
    with pytest.raises(CheckpointError, match="x.pth: backbone.blocks.1.attn.scale is of"):
        load(model(), weights, tmp_path / "x.pth")


def test_attention_by_cosines_is_refused_by_name(tmp_path):
    weights = {**body(), "blocks.0.attn.scale": torch.ones(2, 1, 1)}
    with pytest.raises(CheckpointError, match=r"x.pth: blocks.0.attn.scale is of .*CosAttention"):
        load(model(), weights, tmp_path / "x.pth")


def test_positions_of_a_file_are_used_where_the_model_learns_them(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tubedet"), "propagate", True)
    table = torch.randn(1, 4 * 14 * 14, 16)
    weights = {**body(), "pos_embed": table}
    same = model(num_frames=8, pos_embed="learned")
    report = load(same, weights, tmp_path / "x.pth", min_matched=1.0)
    assert torch.equal(same["backbone"].pos_embed, table) and not report.resized
    longer = model(num_frames=16, pos_embed="learned")
    report = load(longer, weights, tmp_path / "x.pth", min_matched=1.0)
    assert report.resized == {"backbone.pos_embed": ((1, 784, 16), (1, 1568, 16))}
    expected = nn.functional.interpolate(
        table[0].view(4, 196, 16).permute(1, 2, 0), 8, mode="linear"
    )
    expected = expected.permute(2, 0, 1).reshape(1, -1, 16)
    torch.testing.assert_close(longer["backbone"].pos_embed.data, expected)
    assert not caplog.messages or "pos_embed" not in caplog.text
    # A model with fixed ones says that it leaves them.
    report = load(model(), weights, tmp_path / "x.pth", min_matched=1.0)
    assert report.unexpected == ["pos_embed"]
    assert "positions of its own (pos_embed), which are not used; with MODEL.VIT" in caplog.text
    # Without any in the file, learned ones begin as the fixed ones.
    fresh = nn.ModuleDict({"backbone": ViT(**TINY, pos_embed="learned")})
    report = load(fresh, body(), tmp_path / "x.pth", min_matched=1.0)
    assert list(report.new) == ["backbone.pos_embed"]
    assert torch.equal(fresh["backbone"].pos_embed[0], sine_table(8, 14, 16).flatten(0, 2))
    assert resize_table(table[0].view(4, 14, 14, 16), 8, 14, 14).shape == (8, 14, 14, 16)


@pytest.mark.parametrize("tubelet", [1, 2])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.filterwarnings("ignore:.*is a no-op")
def test_the_whole_table_of_every_size_is_there(size, tubelet):
    """Names, shapes, and numbers of parameters, as published."""
    shapes = released_tables.vit(size, tubelet=tubelet)
    num_keys = {"S": 160, "B": 160, "L": 316, "H": 420, "g": 524}[size]
    kernel = shapes["patch_embed.proj.weight"]
    num_parameters = released_tables.VIT_SIZES[size][-1]
    num_parameters -= (2 - tubelet) * kernel[0] * 3 * kernel[3] ** 2
    if size != "g":
        published = {"S": 21_585_024, "B": 85_637_376, "L": 303_074_304, "H": 630_624_000}
        assert tubelet == 2 or num_parameters == published[size]
    with torch.device("meta"):
        module = nn.ModuleDict({"backbone": ViT(**SIZES[size]._asdict(), tubelet=tubelet)})
    assert sum(value.numel() for value in module.parameters()) == num_parameters
    report = load_weights(module, to_tubedet_names(released_tables.tensors(shapes)), source="x")
    assert len(report.matched) == num_keys
    assert sum(report.matched.values()) == num_parameters
    assert not (report.missing or report.unexpected or report.mismatched or report.new)


@pytest.mark.filterwarnings("ignore:.*is a no-op")
def test_the_whole_table_of_a_pyramid_is_there():
    shapes = {f"backbone.{key}": shape for key, shape in released_tables.vit("B").items()}
    laterals = released_tables.pyramid()
    shapes |= laterals
    shapes["stm_head.init_spatial_queries.weight"] = (100, 256)
    shapes["stm_head.init_temporal_queries.weight"] = (100, 256)
    with torch.device("meta"):
        pyramid = ViTPyramid(ViT(**SIZES["B"]._asdict()), 256)
        module = nn.ModuleDict({"backbone": pyramid})
    named = to_tubedet_names(released_tables.tensors(shapes))
    report = load_weights(module, named, source="x", part="backbone")
    assert len(report.matched) == 184 and len(laterals) == 24
    assert sum(report.matched.values()) == 86_227_200 + 10_276_544
    assert not (report.missing or report.unexpected or report.mismatched or report.new)


@pytest.mark.filterwarnings("ignore:.*is a no-op")
@pytest.mark.parametrize("tubelet", [1, 2])
def test_the_whole_table_of_a_detector_of_given_boxes_is_there(tubelet):
    shapes = released_tables.vit("B", tubelet=tubelet)
    shapes |= {"head.weight": (80, 768), "head.bias": (80,)}
    assert len(shapes) == 162
    with torch.device("meta"):
        head = nn.ModuleDict({"fc": nn.Linear(768, 80)})
        vit = ViT(**SIZES["B"]._asdict(), tubelet=tubelet)
        module = nn.ModuleDict({"backbone": vit, "action_head": head})
    report = load_weights(module, to_tubedet_names(released_tables.tensors(shapes)), source="x")
    assert len(report.matched) == len(module.state_dict()) == 162
    assert not (report.missing or report.unexpected or report.mismatched or report.new)
