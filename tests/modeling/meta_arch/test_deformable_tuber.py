"""DeformableTubeR against stored outputs of the public experiment, and its own contracts."""

import pytest
import torch
from detectron2.modeling import build_model
from reference_cases import LARGE_BLOCKS, ReferenceCase, assert_close
from short_training import assert_all_persons_are_found, assert_trains_in_bfloat16, train_on
from torch import nn

from tubedet.checkpoint import to_tubedet_names
from tubedet.engine import load_config
from tubedet.modeling import ClipBatch
from tubedet.modeling.transformer import ContextEncoder

BASE = "configs/Base-DeformableTubeR.yaml"
NODE = "MODEL.DEFORMABLE_TUBER."
VARIANTS = {
    "d2": [],
    "d3": [f"{NODE}DETR_FIRST", True],
    "d4": [f"{NODE}CONTEXT_ACTIONS", True],
}
OPTIONS = {
    **VARIANTS,
    "no refinement": [f"{NODE}BOX_REFINE", False],
    "two-stage": [f"{NODE}TWO_STAGE", True],
    "d4, context in time": [*VARIANTS["d4"], f"{NODE}COLLAPSE_CONTEXT", False],
    "d4, exclusive": [*VARIANTS["d4"], "MODEL.EXCLUSIVE_ACTIONS", True],
    "d2, exclusive": ["MODEL.EXCLUSIVE_ACTIONS", True],
}
SMALL = ["MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125, "MODEL.NUM_ACTIONS", 5]
SMALL += [f"{NODE}HIDDEN_DIM", 64, f"{NODE}NUM_HEADS", 4, f"{NODE}NUM_QUERIES", 6]
SMALL += [f"{NODE}FEEDFORWARD_DIM", 64, f"{NODE}ENC_LAYERS", 1]
SMALL += [f"{NODE}DEC_LAYERS", 3, "INPUT.CLIP.NUM_FRAMES", 8]


def _model(*options):
    torch.manual_seed(0)
    return build_model(load_config(BASE, [*options, "MODEL.DEVICE", "cpu"]))


def _small_model(*options):
    return _model(*SMALL, *options)


def _moved_model(*options):
    """A small model without the zero parameters of the start, which hide what is behind them."""
    model = _small_model(*options)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return model


def _predict(model, inputs, **options):
    clips = [x["clip"] for x in inputs]
    clips = ClipBatch.from_clips(clips, model.pixel_mean, model.pixel_std)
    with torch.no_grad():
        return model.predict(clips, **options)


@pytest.fixture(scope="module", params=VARIANTS)
def case_and_model(request):
    """A whole-model case, and our model with its weights."""
    variant = request.param
    path = LARGE_BLOCKS / f"{variant}_full_fixed"
    if not path.with_suffix(".json").exists():
        pytest.skip(f"the reference case {variant}_full_fixed is not at {LARGE_BLOCKS}")
    case = ReferenceCase(path)
    hyper = case.meta["hyper"]
    options = [f"{NODE}FEEDFORWARD_DIM", hyper["dim_feedforward"]]
    options += [f"{NODE}ENC_LAYERS", hyper["encoder_layers"]]
    options += [f"{NODE}DEC_LAYERS", hyper["decoder_layers"]]
    options += [f"{NODE}NUM_QUERIES", hyper["num_queries"]]
    options += ["INPUT.CLIP.NUM_FRAMES", case.meta["num_frames"]]
    options += [f"{NODE}MASK_CONTEXT", False]
    model = _model(*VARIANTS[variant], *options).eval()
    if variant == "d4":  # its width in the context branch is fixed
        model.action_head.context_encoder = ContextEncoder(
            dim=256, num_heads=8, feedforward_dim=2048, dropout=0.0
        ).eval()
    model.load_state_dict(to_tubedet_names(case.state_dict()).weights)
    return variant, case, model.double()


def test_raw_outputs_equal_the_published(case_and_model):
    variant, case, model = case_and_model
    tolerance = 5e-4 if variant == "d3" else 5e-5  # of the rounding in what is stored
    for run in case.runs:
        layers = _predict(model, [{"clip": clip} for clip in case.clips(run)], all_layers=True)
        assert len(layers) == len(case.outputs[f"{run}/pred_logits"])
        for index, layer in enumerate(layers):
            for name, value in (
                ("pred_logits", layer.action_logits),
                ("pred_logits_b", layer.person_logits),
                ("pred_boxes", layer.boxes),
            ):
                assert_close(value, case.outputs[f"{run}/{name}"][index], tolerance)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_counts_are_the_published_ones(variant):
    published = {
        "d2": 41_037_821 - (524_544 + 2_103_040 + 263_168),  # without what it does not use
        "d3": 57_876_733 - (2_103_040 + 263_168),
        "d4": 42_507_885,
    }
    model = _model(*VARIANTS[variant])
    assert sum(p.numel() for p in model.parameters()) == published[variant]


@pytest.mark.parametrize("options", OPTIONS)
def test_training_reaches_every_parameter(options, make_clip_input):
    model = _moved_model(*OPTIONS[options]).train()
    losses = model([make_clip_input(8, 64, 96, 5, seed=s) for s in range(2)])
    kinds = {"loss_ce", "loss_ce_b", "loss_bbox", "loss_giou"}
    if model.exclusive:
        kinds.remove("loss_ce_b")
    expected = {kind + suffix for kind in kinds for suffix in ("", "_0", "_1")}
    if options == "two-stage":
        expected |= {"loss_ce_enc", "loss_bbox_enc", "loss_giou_enc"}
    assert set(losses) == expected
    sum(losses.values()).backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # DETR's queries start at zero, so what its first self attention compares is all the same.
    assert set(idle) <= {"detr.decoder.layers.0.self_attn.in_proj_weight"}


@pytest.mark.parametrize("options", OPTIONS)
def test_equal_sizes_in_a_batch_do_not_influence_each_other(options, make_clip_input):
    model = _moved_model(*OPTIONS[options]).eval()
    inputs = [make_clip_input(8, 48, 64, 5, seed=s) for s in range(2)]
    (together,) = _predict(model, inputs)
    for b, clip_input in enumerate(inputs):
        (alone,) = _predict(model, [clip_input])
        for name in ("action_logits", "boxes", "person_logits"):
            value, expected = getattr(together, name), getattr(alone, name)
            if model.exclusive and name == "person_logits":
                assert value is None
            else:
                torch.testing.assert_close(value[b], expected[0], rtol=0, atol=1e-5)
    assert (together.action_logits[0] - together.action_logits[1]).abs().max() > 1e-3


@pytest.mark.parametrize("num_frames", [8, 16])
@pytest.mark.parametrize("variant", VARIANTS)
def test_clips_of_several_lengths(variant, num_frames, make_clip_input):
    model = _small_model(*VARIANTS[variant], "INPUT.CLIP.NUM_FRAMES", num_frames).eval()
    with torch.no_grad():
        (result,) = model([make_clip_input(num_frames, 48, 64, 5)])
    assert result["instances"].action_scores.shape == (6, 5)
    with pytest.raises(ValueError, match="INPUT.CLIP.NUM_FRAMES must be"):
        model([make_clip_input(24, 48, 64, 5)])


def test_before_training_boxes_lie_at_the_references_and_actions_have_their_prior(
    make_clip_input,
):
    model = _small_model().eval()
    layers = _predict(model, [make_clip_input(8, 48, 64, 5)], all_layers=True)
    points = model.transformer.reference_points(model.query_embed.weight[:, :64]).sigmoid()
    expected = torch.cat((points, torch.full((6, 2), -2.0).sigmoid()), dim=1)
    for layer in layers:
        torch.testing.assert_close(layer.boxes[0], expected, rtol=0, atol=1e-4)
        assert 0.002 < layer.action_logits.sigmoid().mean() < 0.05


def test_variants_use_what_they_are_named_for(make_clip_input):
    """D3's boxes depend on what its DETR finds, D4's actions on the context."""
    clip_input = make_clip_input(8, 48, 64, 5)
    model = _moved_model(*VARIANTS["d3"]).eval()
    (before,) = _predict(model, [clip_input])
    with torch.no_grad():
        model.detr.decoder.norm.bias += 1
    (after,) = _predict(model, [clip_input])
    assert (before.boxes - after.boxes).abs().max() > 1e-2
    model = _moved_model(*VARIANTS["d4"]).eval()
    (before,) = _predict(model, [clip_input])
    with torch.no_grad():
        model.action_head.context_proj.bias += torch.randn(64)
    (after,) = _predict(model, [clip_input])
    assert (before.action_logits - after.action_logits).abs().max() > 1e-2
    assert torch.equal(before.boxes, after.boxes)


def test_two_stage_references_are_the_best_proposals(make_clip_input):
    model = _small_model(*OPTIONS["two-stage"]).eval()
    proposals, first, *_ = _predict(model, [make_clip_input(8, 64, 96, 5)], all_layers=True)
    assert proposals.is_proposal and not first.is_proposal
    assert proposals.action_logits.shape[-1] == 1 and proposals.person_logits is None
    best = proposals.action_logits[0, :, 0].topk(6).indices
    torch.testing.assert_close(first.boxes[0], proposals.boxes[0, best], rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_overfits_two_clips(variant, make_clip_input):
    options = [f"{NODE}DROPOUT", 0.0, f"{NODE}ACTION_DROPOUT", 0.0]
    options += [f"{NODE}DEC_LAYERS", 2, "MODEL.CSN.TEMPORAL_STRIDES", (2, 2, 1, 1)]
    model = _small_model(*VARIANTS[variant], *options)
    inputs = [make_clip_input(8, 48, 64, 5, seed=s) for s in range(2)]
    totals = train_on(model, inputs, num_steps=150, learning_rate=1.5e-3, last_factor=0.05)
    assert totals[-1] < totals[0] / 10
    assert_all_persons_are_found(model, inputs, min_score=0.5, min_overlap=0.5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_bfloat16_autocast_trains(variant, make_clip_input):
    assert_trains_in_bfloat16(_small_model(*VARIANTS[variant]), [make_clip_input(8, 48, 64, 5)])


@pytest.mark.parametrize(
    "options, message",
    [
        ([f"{NODE}TWO_STAGE", True, *VARIANTS["d3"]], "TWO_STAGE and DETR_FIRST"),
        ([f"{NODE}TWO_STAGE", True, f"{NODE}BOX_REFINE", False], "set BOX_REFINE to True"),
        (["MODEL.CRITERION.AUX_LOSS", False], "set MODEL.CRITERION.AUX_LOSS to True"),
        ([f"{NODE}NUM_LEVELS", 2], "NUM_LEVELS"),
        (["INPUT.CLIP.NUM_FRAMES", 12], "another INPUT.CLIP.NUM_FRAMES"),
    ],
)
def test_wrong_settings_name_their_key(options, message):
    with pytest.raises(ValueError, match=message):
        _small_model(*options)
