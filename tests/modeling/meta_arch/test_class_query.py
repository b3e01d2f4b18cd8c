"""ClassQueryDetector against stored outputs of the public code, and its own contracts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from class_query_cases import ClassQueryCase
from detectron2.modeling import build_model
from reference_cases import assert_close

from tubedet.checkpoint import to_tubedet_names
from tubedet.checkpoint.class_query_names import to_class_query_names
from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.modeling import ClipBatch, ClipTarget
from tubedet.modeling.action_loss import logits_of_scores
from tubedet.modeling.frame_targets import split_into_frames

NODE = "MODEL.CLASS_QUERY."
CRITERION = "MODEL.CRITERION."
CSN = ["MODEL.CSN.OUT_FEATURES", ["res3", "res4", "res5"], "MODEL.CSN.LAST_STRIDE", False]
VIT = ["MODEL.BACKBONE.NAME", "build_vit_pyramid_backbone", "MODEL.VIT.SIZE", "B"]
BACKBONES = {
    "CSN-50": [*CSN, "MODEL.CSN.DEPTH", 50],
    "CSN-152": [*CSN, "MODEL.CSN.DEPTH", 152],
    "ViT-B": VIT,
}
CASES = ("cq_csn50_ava", "cq_csn152_ava", "cq_csn152_jhmdb", "cq_vitb_ava")
# Counted once, without what the published model never uses.
PARAMETERS = {
    "cq_csn50_ava": 69_434_205,
    "cq_csn152_ava": 86_006_621,
    "cq_csn152_jhmdb": 65_277_269,
    "cq_vitb_ava": 138_550_045,
}
UNUSED_BY_LAYER, UNUSED = 65_792, 512
# Of each output: float64, float32.
TOLERANCES = {
    "pred_logits": (1e-4, 2e-2),
    "pred_boxes": (1e-6, 2e-4),
    "pred_logits_b": (1e-5, 1e-3),
}
SMALL = [*CSN, "MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125, "MODEL.NUM_ACTIONS", 5]
SMALL += [f"{NODE}HIDDEN_DIM", 64, f"{NODE}NUM_HEADS", 4, f"{NODE}NUM_QUERIES", 6]
SMALL += [f"{NODE}FEEDFORWARD_DIM", 64, f"{NODE}ENC_LAYERS", 1, f"{NODE}ENC_POINTS", 2]
SMALL += [f"{NODE}DEC_LAYERS", 3, "INPUT.CLIP.NUM_FRAMES", 8]


def _model(*options):
    torch.manual_seed(0)
    return build_model(
        load_config("configs/Base-ClassQuery.yaml", ["MODEL.DEVICE", "cpu", *options])
    )


def _published(name):
    """A case and a model with its weights, in evaluation mode."""
    case = ClassQueryCase(name)
    meta = case.meta
    options = ["MODEL.NUM_ACTIONS", meta["num_classes"], "INPUT.CLIP.NUM_FRAMES"]
    options += [meta["num_frames"], f"{NODE}NUM_QUERIES", meta["num_queries"]]
    options += [f"{NODE}ENC_LAYERS", meta["enc_layers"], f"{NODE}DEC_LAYERS", meta["dec_layers"]]
    options += [f"{NODE}FRAMES", "key" if meta["single_frame"] else "all"]
    terms = {"loss_ce": "ACTION", "loss_ce_b": "PERSON"}
    for term, key in terms.items():
        options += [f"{CRITERION}{key}_LOSS_WEIGHT", float(meta["weight_dict"][term])]
    options += [f"{CRITERION}COST_CLASS", float(meta["matcher"]["cost_class"])]
    options += [f"{CRITERION}NO_OBJECT_WEIGHT", meta["eos_coef"]]
    options += [f"{CRITERION}LABEL_SMOOTHING", meta["label_smoothing"]]
    if not meta["single_frame"]:
        options += [f"{CRITERION}ACTION_LOSS_OF_SCORES", True]
        options += [f"{CRITERION}ACTION_FRAME_MEAN", True]
    model = _model(*BACKBONES[meta["backbone"]], *options).eval()
    missing, unexpected = model.load_state_dict(
        to_tubedet_names(case.state_dict()).weights, strict=False
    )
    assert not unexpected
    assert not [key for key in missing if not key.endswith("num_batches_tracked")]
    return case, model


def _batch(model, clips):
    return ClipBatch.from_clips(clips, model.pixel_mean, model.pixel_std)


@pytest.fixture(scope="module", params=CASES)
def case_and_model(request):
    return _published(request.param)


def _compare(case, run, layers, single_precision):
    """The outputs of all layers with those stored; float32 has only those of the last."""
    for index, layer in enumerate(layers):
        is_last = index == len(layers) - 1
        values = (layer.action_logits, layer.boxes, layer.person_logits)
        for (name, tolerances), value in zip(TOLERANCES.items(), values):
            part = "" if is_last else f"aux{index}/"
            stored = f"{run}/{part}{'fp32/' if single_precision else ''}{name}"
            if stored not in case.outputs.files:
                assert not is_last
                continue
            if name == "pred_logits" and not is_last:
                value = value[..., ::4]
            assert_close(value, case.outputs[stored], tolerances[single_precision])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_equal_the_published(case_and_model, dtype):
    case, model = case_and_model
    model.to(dtype)
    for run in case.runs:
        with torch.no_grad():
            layers = model.predict(_batch(model, case.clips(run)), all_layers=True)
        assert len(layers) == case.meta["dec_layers"]
        _compare(case, run, layers, dtype == torch.float32)


def _key_frame_losses(case, run, model, layers):
    """Weighted losses of all layers, and the stored unweighted ones by the same names."""
    targets = [ClipTarget(*case.target(run, b)) for b in range(len(layers[0].boxes))]
    for target in targets:
        target.actions = target.actions.to(target.boxes.dtype)
    return model.criterion(layers, targets)


def _tube_losses(case, run, model, layers):
    """Weighted losses of all layers as published, with what the published code does by mistake.

    Padded frames take part in the person loss, and the factor on matched queries lies as many
    frames early as there are padded ones before the video.
    """
    boxes, labels = case.target(run, 0)
    num_frames, num_actions = case.meta["num_frames"], case.meta["num_classes"]
    front, end = case.meta["front_pad"], case.meta["end_pad"]
    kept = torch.arange(num_frames) >= front
    kept &= torch.arange(num_frames) < num_frames - end
    actions = F.one_hot(labels[kept].long().amin(0, keepdim=True), num_actions).double()
    target = ClipTarget(boxes[None, num_frames // 2], actions, boxes[None], kept[None])
    every = model.criterion(layers, [target])
    target.frame_annotated = kept.tolist()
    losses = model.criterion(layers, [target])
    frames, targets = split_into_frames(layers, [target])
    for index, layer in enumerate(frames):
        is_last = index == len(frames) - 1
        suffix = "" if is_last else f"_{index}"
        losses[f"loss_ce_b{suffix}"] = every[f"loss_ce_b{suffix}"]
        logits = logits_of_scores(layer.action_logits, layer.person_logits.softmax(-1)[..., 1])
        wanted = torch.zeros_like(logits)
        shifted = torch.zeros(num_frames, layer.boxes.shape[1], dtype=torch.bool)
        match = case.outputs[f"{run}/match" if is_last else f"{run}/aux{index}/match"]
        assert len(match) == len(targets)
        for frame, (query, _) in enumerate(match.tolist()):
            wanted[frame, query] = targets[frame].actions[0]
            shifted[frame, query] = True
        rows = shifted[kept].flatten().nonzero()[:, 0]
        loss = model.criterion.action_loss(logits[None], wanted[None], rows, 1.0)
        losses[f"loss_ce{suffix}"] = loss[0] * model.criterion.weights["loss_ce"]
    return losses


def test_gradients_equal_the_published(case_and_model):
    case, model = case_and_model
    model.double().zero_grad()
    run = case.meta["gradient_run"]
    layers = model.predict(_batch(model, case.clips(run)), all_layers=True)
    of_losses = _key_frame_losses if case.meta["single_frame"] else _tube_losses
    losses = of_losses(case, run, model, layers)
    for name, loss in losses.items():
        weight = model.criterion.weights[name.rstrip("_0123456789")]
        assert_close(loss / weight, case.outputs[f"{run}/loss/{name}"], 1e-4)
    total = sum(losses.values())
    assert_close(total, case.outputs[f"{run}/loss_total"], 1e-4)
    total.backward()
    released = to_class_query_names(
        {name: parameter.grad for name, parameter in model.named_parameters()}
    )
    prefix = f"{run}/grad/"
    names = [key.removeprefix(prefix) for key in case.outputs.files if key.startswith(prefix)]
    assert len(names) >= 7
    for name in names:
        expected = case.outputs[prefix + name]
        found = released[f"module.{name}"]
        found = found if found.shape == expected.shape else found[..., ::8]
        largest = np.abs(expected).max()
        assert_close(found / largest, expected / largest, 1e-3)


@pytest.mark.parametrize("name", CASES)
def test_parameter_counts_are_the_published_ones(name):
    case = ClassQueryCase(name)
    meta = case.meta
    with torch.device("meta"):
        options = [*BACKBONES[meta["backbone"]], "MODEL.NUM_ACTIONS", meta["num_classes"]]
        options += [f"{NODE}FRAMES", "key" if meta["single_frame"] else "all"]
        options += ["INPUT.CLIP.NUM_FRAMES", meta["num_frames"]]
        options += [f"{NODE}ENC_LAYERS", meta["enc_layers"], f"{NODE}DEC_LAYERS"]
        options += [meta["dec_layers"], f"{NODE}NUM_QUERIES", meta["num_queries"]]
        model = _model(*options, "MODEL.DEVICE", "meta")
    unused = UNUSED_BY_LAYER * meta["dec_layers"] + UNUSED
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name] - unused


def _small(*options):
    """A small model whose logits are not zero as at the start."""
    model = _model(*SMALL, *options).eval()
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    for name, parameter in model.transformer.decoder.named_parameters():
        if name in ("cls_norm2.weight", "class_queries.weight"):
            torch.nn.init.normal_(parameter)
    return model


def _predict(model, inputs, **options):
    with torch.no_grad():
        return model.predict(_batch(model, [x["clip"] for x in inputs]), **options)


@pytest.mark.parametrize("frames", ["key", "all"])
def test_shapes_of_the_outputs(frames, make_clip_input):
    model = _small(f"{NODE}FRAMES", frames)
    inputs = [make_clip_input(8, 48, 64, 5, seed=s) for s in range(2)]
    layers = _predict(model, inputs, all_layers=True)
    lead = (2, 8) if frames == "all" else (2,)
    assert len(layers) == 3
    for layer in layers:
        assert layer.action_logits.shape == (*lead, 6, 5)
        assert layer.boxes.shape == (*lead, 6, 4)
        assert layer.person_logits.shape == (*lead, 6, 3)
    with torch.no_grad():
        results = model(inputs)
    boxes = results[1]["instances"].pred_boxes.tensor
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / torch.tensor([64, 48])
    expected = layers[-1].boxes[1, 4] if frames == "all" else layers[-1].boxes[1]
    torch.testing.assert_close(centre, expected[:, :2], rtol=0, atol=1e-5)


def test_every_frame_has_anchors_of_its_own(make_clip_input):
    """Row q * T + t of the anchors is that of query q in frame t."""
    model = _small(f"{NODE}FRAMES", "all")
    inputs = [make_clip_input(8, 48, 64, 5)]
    before = _predict(model, inputs)[0].boxes
    with torch.no_grad():
        model.refpoint_embed.weight[2 * 8 + 5] += 1
    changed = (_predict(model, inputs)[0].boxes - before).abs().amax(-1)[0] > 1e-4  # (F, Q)
    assert changed[5, 2]
    assert changed.any(1).nonzero().flatten().tolist() == [5]


def test_detection_decodes_the_key_frame_alone(make_clip_input):
    """With the numbers that it has among all frames; training decodes them all."""
    model = _small(f"{NODE}FRAMES", "all").double()
    sizes = ((48, 64), (32, 64))
    inputs = [make_clip_input(8, *size, 5, seed=s) for s, size in enumerate(sizes)]
    decoded = []
    model.transformer.decoder.register_forward_pre_hook(lambda _, x: decoded.append(len(x[1])))
    (every,) = _predict(model, inputs)
    with torch.no_grad():
        clips = _batch(model, [x["clip"] for x in inputs])
        (alone,) = model.predict_key_frame(clips)
        model(inputs), model.explain(inputs, [0]), model.train()(inputs)
    for name in ("action_logits", "boxes", "person_logits"):
        expected = getattr(every.of_key_frame(), name)
        torch.testing.assert_close(getattr(alone, name), expected, rtol=0, atol=1e-11)
    assert decoded == [2 * 8, 2, 2, 2, 2 * 8]


def test_one_clip_does_not_influence_another(make_clip_input):
    model = _small(f"{NODE}FRAMES", "all")
    inputs = [make_clip_input(8, 48, 64, 5, seed=s) for s in range(2)]
    (together,) = _predict(model, inputs)
    (alone,) = _predict(model, inputs[1:])
    for name in ("action_logits", "boxes", "person_logits"):
        value, expected = getattr(together, name)[1], getattr(alone, name)[0]
        torch.testing.assert_close(value, expected, rtol=0, atol=2e-5)
    assert (together.action_logits[0] - together.action_logits[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    "key, value",
    [
        ("OFFSET_NORMALIZER", "right"),
        ("GRID_POSITIONS", "right"),
        ("TIME_CODE", "right"),
        ("MASK_CLASSES", True),
    ],
)
def test_each_way_of_the_published_code_can_be_put_right(key, value, make_clip_input):
    """Some of them matter in padded clips only, so the batch has one."""
    sizes = ((48, 64), (32, 64))
    inputs = [make_clip_input(16, *size, 5, seed=s) for s, size in enumerate(sizes)]
    published, right = (_small(*options) for options in ([], [f"{NODE}{key}", value]))
    right.load_state_dict(published.state_dict())
    (before,), (after,) = _predict(published, inputs), _predict(right, inputs)
    difference = (after.action_logits - before.action_logits).abs().amax((1, 2))
    assert difference[1] > 1e-4
    if key in ("TIME_CODE", "MASK_CLASSES"):
        assert difference[0] < 1e-5  # has no padding


def test_class_attention_says_where_each_class_looks(make_clip_input):
    model = _small()
    inputs = [make_clip_input(8, 64, 96, 5, seed=s) for s in range(2)]
    clips = _batch(model, [x["clip"] for x in inputs])
    with torch.no_grad():
        attention = model.class_attention(clips)
    assert attention.shape == (2, 6, 5, 4, 6)
    torch.testing.assert_close(attention.sum((-2, -1)), torch.ones(2, 6, 5))
    assert attention.std((-2, -1)).min() > 1e-4
    assert (attention[:, :, 0] - attention[:, :, 1]).abs().max() > 1e-4
    tube = _small(f"{NODE}FRAMES", "all")
    with torch.no_grad():
        assert tube.class_attention(clips).shape == (2, 8, 6, 5, 4, 6)


def test_a_detector_of_persons_alone_has_no_classes(make_clip_input):
    model = _small("MODEL.PERSON_ONLY", True)
    assert not [name for name, _ in model.named_parameters() if ".cls_" in name]
    inputs = [make_clip_input(8, 48, 64, 5)]
    assert _predict(model, inputs)[0].action_logits is None
    with torch.no_grad():
        assert model(inputs)[0]["instances"].action_scores.shape == (6, 1)
    with pytest.raises(UserError, match="PERSON_ONLY is True"):
        model.class_attention(_batch(model, [inputs[0]["clip"]]))


@pytest.mark.parametrize("frames", ["key", "all"])
def test_training_reaches_every_parameter(frames, make_clip_input):
    model = _small(f"{NODE}FRAMES", frames).train()
    losses = model([make_clip_input(8, 64, 96, 5, seed=s) for s in range(2)])
    kinds = ("loss_ce", "loss_ce_b", "loss_bbox", "loss_giou")
    assert set(losses) == {kind + suffix for kind in kinds for suffix in ("", "_0", "_1")}
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_a_clip_of_another_length_has_no_anchors(make_clip_input):
    model = _small(f"{NODE}FRAMES", "all")
    with pytest.raises(UserError, match="a clip has 16 frames, .* INPUT.CLIP.NUM_FRAMES, 8"):
        _predict(model, [make_clip_input(16, 48, 64, 5)])
    key_frame = _small()
    assert _predict(key_frame, [make_clip_input(16, 48, 64, 5)])[0].boxes.shape == (1, 6, 4)


def test_an_unknown_choice_of_frames_is_refused():
    with pytest.raises(UserError, match="FRAMES is 'some'; choose one of"):
        _model(*SMALL, f"{NODE}FRAMES", "some")
