"""The ViT against what the published code computed, and what a fixture does not show."""

import copy
import pickle
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.modeling import build_backbone
from reference_cases import (
    VIDEO_VIT,
    ReferenceCase,
    assert_gradients_close,
    assert_relatively_close,
    stored_gradients,
)

from tubedet.engine import load_config
from tubedet.layers import LayerNorm
from tubedet.modeling.backbone import ClipShapeSpec, ViT
from tubedet.modeling.backbone.vit import SIZES
from tubedet.modeling.backbone.vit.block import ViTBlock
from tubedet.modeling.backbone.vit.position_table import resize_table, sine_table
from tubedet.modeling.backbone.vit.vit import MAX_TABLES, size_arguments
from tubedet.modeling.half_weights import HalfWeights

CASES = [("vit_tiny_layerscale", "wide"), ("vit_s_depth4", "native"), ("vit_s_depth4", "wide")]
# patch embedding, blocks and final norm, with tubelets of two frames and of one
PARAMETERS = {
    "S": (21_879_936, 21_585_024),
    "B": (86_227_200, 85_637_376),
    "L": (303_860_736, 303_074_304),
    "H": (631_607_040, 630_624_000),
    "g": (1_011_610_752, None),
}
KEYS = {"S": 160, "B": 160, "L": 316, "H": 420, "g": 524}


def _reference(name):
    case = ReferenceCase(VIDEO_VIT / name)
    config = case.meta["config"]
    model = ViT(
        width=config["embed_dim"],
        depth=config["depth"],
        num_heads=config["num_heads"],
        mlp_width=4 * config["embed_dim"],
        init_values=config["init_values"],
    )
    model.load_state_dict(case.state_dict())
    return case, model.eval()


def _tiny(**options):
    torch.manual_seed(0)
    arguments = {"width": 16, "depth": 3, "num_heads": 2, "mlp_width": 32, "num_frames": 4}
    model = ViT(**{**arguments, **options})
    for block in model.blocks:  # as different from zero as in a trained model
        for p in (*block.attn.parameters(), *block.mlp.parameters()):
            torch.nn.init.normal_(p, std=0.3)
    return model


def _token_rows(case, run, features):
    return features.movedim(1, -1).flatten(0, 3)[case.outputs[f"{run}/token_rows"]]


@pytest.mark.parametrize("name, run", CASES)
def test_tokens_and_gradients_are_the_published_ones(name, run):
    case, model = _reference(name)
    model.double()
    x = case.batch(run).requires_grad_()
    features = model(x)["vit"]
    assert list(features.shape[2:]) == case.meta["runs"][run]["tokens_thw"]
    assert_relatively_close(_token_rows(case, run, features), case.outputs[f"{run}/tokens"], 1e-7)
    stats = torch.stack([features.mean(), features.abs().mean(), features.abs().max()])
    assert_relatively_close(stats, case.outputs[f"{run}/stats"], 1e-7)
    names = stored_gradients(case, run)
    assert names
    wanted = [x, *(model.get_parameter(name) for name in names)]
    cotangent = case.draw(f"cotangent/{run}", features.shape)
    gradients = torch.autograd.grad((features * cotangent).sum(), wanted)
    assert_gradients_close(case, run, dict(zip(["grad_input", *names], gradients)), 1e-7)


@pytest.mark.parametrize("name, run", CASES[:2])
def test_float32_is_as_close_as_rounding_allows(name, run):
    case, model = _reference(name)
    with torch.no_grad():
        features = model(case.batch(run).float())["vit"]
    assert features.dtype == torch.float32
    assert_relatively_close(_token_rows(case, run, features), case.outputs[f"{run}/tokens"], 1e-4)


def test_tokens_of_a_whole_vit_b_are_the_published_ones():
    case, model = _reference("vit_b_full")
    with torch.no_grad():
        features = model.double()(case.batch("native"))["vit"]
    tokens = _token_rows(case, "native", features)
    assert_relatively_close(tokens, case.outputs["native/tokens"], 1e-7)


@pytest.mark.parametrize(
    "change",
    ["norm eps", "tanh", "value bias on keys", "fresh table", "no final norm"],
)
def test_the_fixture_sees_small_errors(change, monkeypatch):
    """An epsilon of 1e-5 moves tokens by 3e-6, the other GELU by 1e-4."""
    case, model = _reference("vit_tiny_layerscale")
    model.double()
    if change == "norm eps":
        for module in model.modules():
            if isinstance(module, LayerNorm):
                module.eps = 1e-5
    elif change == "tanh":
        gelu = partial(F.gelu, approximate="tanh")
        monkeypatch.setattr("tubedet.modeling.backbone.vit.block.F.gelu", gelu)
    elif change == "value bias on keys":
        for block in model.blocks:
            block.attn.v_bias.data.zero_()
    elif change == "fresh table":
        fresh = sine_table(8, 14, 96).flatten(0, 2)[: 8 * 6 * 8].view(8, 6, 8, 96)
        monkeypatch.setattr(model, "_table", lambda *size: fresh)
    else:
        model.norm = torch.nn.Identity()
    with torch.no_grad():
        tokens = _token_rows(case, "wide", model(case.batch("wide"))["vit"]).numpy()
    expected = case.outputs["wide/tokens"]
    assert np.abs(tokens - expected).max() > 1e-6 * np.abs(expected).max()


def test_attention_is_that_of_three_projections_without_a_bias_of_keys():
    torch.manual_seed(0)
    block = ViTBlock(12, 3, 24, init_values=0.0, drop_path=0.0).double()
    attention = block.attn
    torch.nn.init.normal_(attention.q_bias)
    torch.nn.init.normal_(attention.v_bias)
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    w_query, w_key, w_value = attention.qkv.weight.chunk(3)
    heads = [
        y.view(2, 5, 3, 4).transpose(1, 2)
        for y in (
            x @ w_query.t() + attention.q_bias,
            x @ w_key.t(),
            x @ w_value.t() + attention.v_bias,
        )
    ]
    weights = (heads[0] @ heads[1].transpose(2, 3) / 4**0.5).softmax(-1)
    joined = (weights @ heads[2]).transpose(1, 2).reshape(2, 5, 12)
    expected = joined @ attention.proj.weight.t() + attention.proj.bias
    torch.testing.assert_close(attention(x), expected)


@pytest.mark.parametrize("size", SIZES)
def test_published_sizes_have_their_parameters_and_keys(size):
    numbers = size_arguments(size, 0, 0, 0, 0, 0)
    for tubelet, count in zip((2, 1), PARAMETERS[size]):
        if count is not None:
            with torch.device("meta"):
                model = ViT(**numbers, tubelet=tubelet)
            assert sum(p.numel() for p in model.parameters()) == count
            assert len(model.state_dict()) == KEYS[size]


def test_the_map_has_the_announced_strides():
    model = _tiny(patch_size=8)
    assert model.output_shape() == {"vit": ClipShapeSpec(16, stride=8, temporal_stride=2)}
    assert model.size_divisibility == 8
    assert model(torch.randn(2, 3, 6, 24, 40))["vit"].shape == (2, 16, 3, 3, 5)
    # what is left at the ends is cut, as published
    assert model(torch.randn(1, 3, 7, 25, 47))["vit"].shape == (1, 16, 3, 3, 5)


def test_a_token_is_at_its_place_in_the_map():
    """Without blocks each cell is its patch and its own code."""
    model = _tiny(depth=1).double()
    for p in (*model.blocks[0].attn.proj.parameters(), *model.blocks[0].mlp.fc2.parameters()):
        p.data.zero_()
    x = torch.randn(1, 3, 4, 48, 32, dtype=torch.float64)
    features = model(x)["vit"]
    patch = x[0, :, 2:4, 32:48, 16:32]  # step 1, row 2, column 1
    proj = model.patch_embed.proj
    token = (proj.weight * patch).sum((1, 2, 3, 4)) + proj.bias
    token = token + resize_table(sine_table(2, 14, 16), 2, 3, 2)[1, 2, 1]
    torch.testing.assert_close(features[0, :, 1, 2, 1], model.norm(token))


def test_longer_clips_extend_or_interpolate_the_sine_table():
    extended, stretched = _tiny(), _tiny(pos_embed_time="interpolate")
    assert torch.equal(extended._table(20, 14, 14), sine_table(20, 14, 16))
    assert torch.equal(stretched._table(8, 14, 14), sine_table(8, 14, 16))
    table = sine_table(8, 14, 16)
    assert torch.equal(stretched._table(20, 14, 14), resize_table(table, 20, 14, 14))
    assert torch.equal(stretched._table(4, 9, 6), resize_table(table, 4, 9, 6))


def test_a_learned_table_is_a_parameter_that_is_resized_and_trained():
    learned, fixed = _tiny(pos_embed="learned"), _tiny()
    assert learned.pos_embed.shape == (1, 2 * 14 * 14, 16)
    assert set(learned.state_dict()) == {*fixed.state_dict(), "pos_embed"}
    x = torch.randn(1, 3, 4, 32, 48)
    torch.testing.assert_close(learned(x)["vit"], fixed(x)["vit"])
    (learned(torch.randn(1, 3, 8, 32, 48))["vit"] * torch.randn(16, 1, 1, 1)).sum().backward()
    assert learned.pos_embed.grad.isfinite().all() and learned.pos_embed.grad.any()


def test_kept_tables_are_bounded_and_serve_training_after_detection():
    model = _tiny()
    with torch.inference_mode():
        for side in range(1, MAX_TABLES + 4):
            model(torch.randn(1, 3, 4, 16 * side, 16))
    assert len(model._tables) == MAX_TABLES and (2, 1, 1) not in [key[:3] for key in model._tables]
    model(torch.randn(1, 3, 4, 16 * 9, 16))["vit"].square().sum().backward()
    assert model.blocks[0].attn.qkv.weight.grad.any()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert not twin._tables and twin(torch.zeros(1, 3, 4, 16, 16))["vit"].shape[1] == 16


def test_stochastic_depth_rises_from_zero_and_is_off_in_evaluation():
    model = _tiny(depth=5, drop_path=0.4)
    assert [block.drop_path for block in model.blocks] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    x = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        first, second = model(x)["vit"], model(x)["vit"]
        assert not torch.equal(first, second)
        model.eval()
        assert torch.equal(model(x)["vit"], _same_weights(model, drop_path=0.0)(x)["vit"])


def test_a_dropped_branch_is_that_of_a_whole_clip_and_kept_ones_are_scaled():
    torch.manual_seed(0)
    block = ViTBlock(8, 2, 16, init_values=0.0, drop_path=0.25)
    x = torch.ones(4000, 3, 8)
    y = block._branch(x, None)
    kept = y[:, 0, 0] != 0
    assert torch.equal(y, torch.where(kept, 1 / 0.75, 0.0)[:, None, None].expand_as(y))
    assert 0.72 < kept.float().mean() < 0.78
    assert torch.equal(block.eval()._branch(x, None), x)


def _same_weights(model, **options):
    twin = _tiny(depth=len(model.blocks), **options)
    twin.load_state_dict(model.state_dict())
    return twin.train(model.training)


@pytest.mark.parametrize("half", [False, True])
def test_checkpointing_changes_no_numbers(half):
    x = torch.randn(3, 3, 4, 32, 32)
    results = []
    for checkpointing in (False, True):
        model = _tiny(drop_path=0.5, checkpointing=checkpointing).train()
        torch.manual_seed(5)
        if half:
            with torch.autocast("cpu", torch.bfloat16):
                y = HalfWeights(model).call(torch.bfloat16, x)["vit"]
        else:
            y = model(x)["vit"]
        y.float().square().mean().backward()
        results.append([y, *(p.grad for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_hidden_padding_leaves_a_clip_as_it_is_alone():
    model = _tiny(mask_padding=True, pos_embed_time="interpolate").double().eval()
    clip = torch.randn(1, 3, 4, 40, 20, dtype=torch.float64)
    alone = F.pad(clip, (0, 12, 0, 8))
    batch = torch.randn(2, 3, 4, 64, 80, dtype=torch.float64)
    batch[0] = 0
    batch[0, ..., :40, :20] = clip[0]
    with torch.no_grad():
        expected = model(alone, [(40, 20)])["vit"][0]
        found = model(batch, [(40, 20), (64, 80)])["vit"]
        torch.testing.assert_close(found[0, ..., :3, :2], expected)
        assert not found[0, ..., 3:, :].any() and not found[0, ..., 2:].any()
        torch.testing.assert_close(found[1], model(batch[1:], [(64, 80)])["vit"][0])
        # and not without the mask
        assert (model(batch)["vit"][0, ..., :3, :2] - expected).abs().max() > 1e-3


def test_gradients_with_hidden_padding_are_finite():
    model = _tiny(mask_padding=True).train()
    x = torch.randn(2, 3, 4, 48, 64)
    model(x, [(20, 30), (48, 64)])["vit"].square().mean().backward()
    for name, p in model.named_parameters():
        assert p.grad.isfinite().all(), name


def test_initial_weights_are_those_of_the_action_detectors():
    model = ViT(width=128, depth=1, num_heads=4, mlp_width=512, init_values=0.1)
    block = model.blocks[0]
    for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2):
        assert 0.018 < layer.weight.std() < 0.022
        assert layer.bias is None or not layer.bias.any()
    assert torch.equal(block.gamma_1, torch.full((128,), 0.1))
    assert not block.attn.q_bias.any() and torch.equal(model.norm.weight, torch.ones(128))


def test_freezing_stops_the_gradients_of_the_first_blocks():
    model = _tiny(freeze_at=2)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {name.split(".", 2)[0] for name in frozen} == {"patch_embed", "blocks"}
    assert {name.split(".")[1] for name in frozen if name.startswith("blocks")} == {"0"}
    assert sum(p.requires_grad for p in model.blocks[1].parameters()) == 13


@pytest.mark.parametrize(
    "options, message",
    [
        ({"num_heads": 3}, "MODEL.VIT.NUM_HEADS is 3"),
        ({"patch_size": 15}, "MODEL.VIT.PATCH_SIZE is 15"),
        ({"num_frames": 5}, "INPUT.CLIP.NUM_FRAMES is 5"),
        ({"depth": 0}, "MODEL.VIT.DEPTH is 0"),
        ({"drop_path": 1.0}, "MODEL.VIT.DROP_PATH is 1.0"),
        ({"init_values": -1.0}, "MODEL.VIT.INIT_VALUES is -1.0"),
        ({"pos_embed": "rotary"}, "MODEL.VIT.POS_EMBED is 'rotary'"),
        ({"pos_embed_time": "loop"}, "MODEL.VIT.POS_EMBED_TIME is 'loop'"),
        ({"freeze_at": 5}, "MODEL.BACKBONE.FREEZE_AT is 5; choose 0 .. 4"),
    ],
)
def test_wrong_numbers_name_their_key(options, message):
    with pytest.raises(ValueError, match=message):
        _tiny(**options)


def test_the_registry_builds_it_from_a_config():
    opts = ["MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.VIT.SIZE", "S"]
    opts += ["INPUT.CLIP.NUM_FRAMES", 8, "MODEL.VIT.TUBELET", 1, "MODEL.VIT.DROP_PATH", 0.2]
    model = build_backbone(load_config("", opts))
    assert isinstance(model, ViT) and model.table_steps == 8
    assert model.output_shape()["vit"] == ClipShapeSpec(384, 16, 1)
    assert model.blocks[11].drop_path == 0.2 and model.blocks[11].attn.num_heads == 6
    custom = ["MODEL.VIT.SIZE", "custom", "MODEL.VIT.WIDTH", 32, "MODEL.VIT.DEPTH", 2]
    custom += ["MODEL.VIT.NUM_HEADS", 4, "MODEL.VIT.MLP_WIDTH", 48, "MODEL.VIT.PATCH_SIZE", 8]
    model = build_backbone(load_config("", [*opts, *custom]))
    assert len(model.blocks) == 2 and model.blocks[0].mlp.fc1.weight.shape == (48, 32)
    with pytest.raises(ValueError, match="MODEL.VIT.SIZE is 'XL'"):
        build_backbone(load_config("", [*opts, "MODEL.VIT.SIZE", "XL"]))
