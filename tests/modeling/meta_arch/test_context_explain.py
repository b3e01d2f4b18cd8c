"""Where TubeR and D4 say that they look for the actions of a person."""

import pytest
import torch
from small_detectors import small_detector

from tubedet.modeling import prepare_for_inference

OPTIONS = {
    "TubeR": [],
    "tubelets": ["MODEL.TUBER.MASK_CONTEXT", True],
    "D4": ["MODEL.DEFORMABLE_TUBER.COLLAPSE_CONTEXT", False],
    "D4_collapsed": ["MODEL.DEFORMABLE_TUBER.COLLAPSE_CONTEXT", True],
}


def _model(name):
    """A small model whose queries look at different places."""
    _, model = small_detector(name.partition("_")[0], own_backbone=False, opts=OPTIONS[name])
    with torch.no_grad():
        model.action_head.cross_attn.in_proj_weight.mul_(8)
    return model


def _fields(result):
    fields = dict(result["instances"].get_fields())
    return {**fields, "pred_boxes": fields["pred_boxes"].tensor}


@pytest.mark.parametrize("name", OPTIONS)
def test_one_pass_returns_detections_and_attention(name, make_clip_input):
    model = _model(name)
    inputs = [make_clip_input(8, 64, 96, 4, seed=seed) for seed in range(2)]
    passes = []
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        explained = model.explain(inputs, [2, 0])
        assert len(passes) == 1
        detected = model(inputs)
        (prepared, _) = prepare_for_inference(model).explain(inputs, [2, 0])
    for one, other in zip(explained, detected, strict=True):
        found, expected = _fields(one), _fields(other)
        num_queries = len(expected["scores"])
        maps, context = found.pop("action_attention"), found.pop("context_attention")
        assert found.keys() == expected.keys()
        for field, value in expected.items():
            torch.testing.assert_close(found[field], value)
        assert maps.shape == (num_queries, 2, *context.shape[-2:])
        torch.testing.assert_close(maps.sum((-2, -1)), torch.ones(num_queries, 2))
        # One map per person, whatever the action: the sum over time.
        torch.testing.assert_close(maps, context.sum(1)[:, None].expand_as(maps))
        assert (context.shape[1] > 1) == (name != "D4_collapsed")
        assert (maps[0] - maps[1]).abs().max() > 1e-4
    torch.testing.assert_close(
        _fields(prepared)["action_attention"],
        _fields(explained[0])["action_attention"],
        atol=1e-4,
        rtol=1e-3,
    )


@pytest.mark.parametrize("mask_context", [False, True])
def test_padded_cells_are_left_out(mask_context, make_clip_input):
    """They hold weight as published, and none with MASK_CONTEXT."""
    opts = ["MODEL.TUBER.MASK_CONTEXT", mask_context]
    _, model = small_detector("TubeR", own_backbone=False, opts=opts)
    inputs = [make_clip_input(8, *size, 4, seed=9) for size in ((64, 96), (32, 48))]
    with torch.no_grad():
        whole, part = (_fields(x) for x in model.explain(inputs, [1]))
        (layer,) = model.predict(model.batch(inputs), with_attention=True)
    _, _, _, height, width = layer.context_attention.shape
    assert whole["action_attention"].shape[-2:] == (height, width)
    half = (height // 2, width // 2)
    assert part["action_attention"].shape[-2:] == half
    everywhere = layer.context_attention[1].sum(1)
    torch.testing.assert_close(
        part["action_attention"][:, 0], everywhere[..., : half[0], : half[1]]
    )
    left = part["action_attention"].sum((-2, -1))
    assert ((left - 1).abs() < 1e-5).all() if mask_context else (left < 0.9).all()


def test_a_layer_has_attention_only_where_it_is_asked_for(make_clip_input):
    for name in ("TubeR", "D4"):
        model = _model(name)
        clips = model.batch([make_clip_input(8, 64, 96, 4)])
        with torch.no_grad():
            assert model.predict(clips)[-1].context_attention is None
            layers = model.predict(clips, all_layers=True, with_attention=True)
        assert [x.context_attention.shape[0] for x in layers] == [1, 1]
        assert not torch.equal(*(x.context_attention for x in layers))
