"""STMixer against stored outputs of the public code, and its own contracts."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from reference_cases import assert_gradients_close, assert_relatively_close, assert_rows_close
from small_detectors import small_batch, small_detector
from stmixer_cases import stmixer_case
from torchvision.ops import box_convert

from tubedet.checkpoint import to_tubedet_names
from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.modeling import ClipBatch, ClipTarget, detections_from_queries

NODE = "MODEL.STMIXER."
VIT = ["MODEL.BACKBONE.NAME", "build_vit_pyramid_backbone", "MODEL.VIT.SIZE", "custom"]
CASES = [("stmixer_vit", "single"), ("stmixer_vit", "padded")]
CASES += [("stmixer_slowonly", "padded"), ("stmixer_slowfast", "single")]
# Ours: as the published code calls it.
TERMS = {"loss_ce": "loss_bce", "loss_ce_b": "loss_ce", "loss_bbox": "loss_bbox"}
TERMS["loss_giou"] = "loss_giou"


def _model(*options):
    torch.manual_seed(0)
    return build_model(load_config("configs/Base-STMixer.yaml", ["MODEL.DEVICE", "cpu", *options]))


def _trunk(config):
    """Options of the backbone of a case."""
    if "ViT" in config["backbone"]:
        vit = config["vit"]
        options = [*VIT, "MODEL.VIT.WIDTH", vit["embed_dim"], "MODEL.VIT.DEPTH", vit["depth"]]
        options += ["MODEL.VIT.NUM_HEADS", vit["num_heads"]]
        return [*options, "MODEL.VIT.MLP_WIDTH", 4 * vit["embed_dim"]]
    options = ["MODEL.BACKBONE.NAME", "build_slowfast_lateral_backbone"]
    if config["backbone"] == "PySlowonly":
        return [*options, "MODEL.SLOWFAST.PATHWAYS", "slow"]
    options += ["MODEL.SLOWFAST.RATIO", config["slowfast_alpha"]]
    return [*options, "MODEL.SLOWFAST.FUSION_KERNEL", config["fusion_kernel"]]


def _published(name="stmixer_vit", dtype=torch.float64):
    """A case and a model with its weights, in evaluation mode."""
    case = stmixer_case(name)
    config = case.meta["config"]
    options = _trunk(config)
    options += [f"{NODE}NUM_STEPS", config["temporal_points"]]
    options += ["MODEL.NUM_ACTIONS", config["actions"], "MODEL.FPN.OUT_CHANNELS", config["hidden"]]
    options += ["INPUT.CLIP.NUM_FRAMES", case.meta["num_frames"]]
    options += [f"{NODE}NUM_QUERIES", config["queries"], f"{NODE}NUM_STAGES", config["stages"]]
    options += [f"{NODE}NUM_HEADS", config["heads"], f"{NODE}FEEDFORWARD_DIM", config["ffn"]]
    options += [f"{NODE}NUM_GROUPS", config["groups"], f"{NODE}NUM_POINTS"]
    options += [config["spatial_points"], f"{NODE}OUT_MULTIPLIER", config["out_multiplier"]]
    options += ["MODEL.PIXEL_MEAN", [255 * x for x in config["pixel_mean"]]]
    options += ["MODEL.PIXEL_STD", [255 * x for x in config["pixel_std"]]]
    assert config["weights"] == {"ce": 2.0, "l1": 2.0, "giou": 2.0, "action": 24.0}
    model = _model(*options).eval()
    named = to_tubedet_names(case.state_dict())
    assert named.ignored == ["stm_head.criterion.empty_weight"]
    missing, unexpected = model.load_state_dict(named.weights, strict=False)
    assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing)
    return case, model.to(dtype)


def _clips(case, model, run):
    """The batch of a run; normalised by the config's numbers in float64."""
    mean, std = (
        torch.tensor(case.meta["config"][key], dtype=torch.float64).view(3, 1, 1, 1)
        for key in ("pixel_mean", "pixel_std")
    )
    padded = case.meta["runs"][run]["padded_to"]
    clips = [(clip.double() / 255 - mean) / std for clip in case.clips(run)]
    dtype = model.pixel_mean.dtype
    tensor = torch.zeros(len(clips), 3, clips[0].shape[1], *padded, dtype=dtype)
    mask = torch.ones(len(clips), *padded, dtype=torch.bool)
    sizes = []
    for b, clip in enumerate(clips):
        height, width = clip.shape[-2:]
        tensor[b, ..., :height, :width] = clip
        mask[b, :height, :width] = False
        sizes.append((height, width))
    return ClipBatch(tensor, mask, sizes)


def _targets(case, run, sizes):
    targets = []
    for b, (height, width) in enumerate(sizes):
        boxes = case.tensor(f"{run}/target{b}/boxes")
        sides = torch.tensor([width, height, width, height])
        boxes = box_convert(boxes / sides, "xyxy", "cxcywh")
        targets.append(ClipTarget(boxes, case.tensor(f"{run}/target{b}/labels")))
    return targets


def _pixel_boxes(layer, sizes):
    corners = box_convert(layer.boxes, "cxcywh", "xyxy")
    sides = torch.tensor([(w, h, w, h) for h, w in sizes])
    return corners * sides[:, None]


@pytest.mark.parametrize("name, run", CASES)
def test_stages_matches_losses_and_gradients_are_the_published_ones(name, run):
    case, model = _published(name)
    clips = _clips(case, model, run)
    layers = model.predict(clips, all_layers=True)
    targets = _targets(case, run, clips.sizes)
    for index, layer in enumerate(layers):
        place = f"{run}/stage{index}"
        assert_relatively_close(layer.person_logits, case.outputs[f"{place}/person_logits"], 1e-7)
        assert_relatively_close(layer.action_logits, case.outputs[f"{place}/action_logits"], 1e-7)
        found = _pixel_boxes(layer, clips.sizes)
        assert_relatively_close(found, case.outputs[f"{place}/boxes"], 1e-7)
        for b, (rows, columns) in enumerate(model.criterion.match(layer, targets)):
            assert np.array_equal([rows, columns], case.outputs[f"{place}/match{b}"])
    losses = model.criterion(layers, targets)
    assert len(losses) == 4 * len(layers)
    for name, loss in losses.items():
        stem, _, stage = name.rpartition("_")
        stem, end = (stem, f"_{stage}") if stage.isdigit() else (name, "")
        expected = case.outputs[f"{run}/loss/{TERMS[stem]}{end}"].item()
        assert loss.item() == pytest.approx(expected, rel=1e-6), name
    # The published trainer takes the mean of all terms, here they are summed.
    mean = sum(losses.values()) / len(losses)
    assert mean.item() == pytest.approx(case.outputs[f"{run}/loss_mean"].item(), rel=1e-6)
    start, end = f"{run}/grad/", "_idx"
    stored = [key for key in case.outputs.files if key.startswith(start) and key.endswith(end)]
    names = [key[len(start) : -len(end)] for key in stored]
    assert len(names) >= 6
    ours = to_tubedet_names(dict.fromkeys(case.state_dict(), torch.zeros(1))).names_in_file
    parameters = {ours[name]: value for name, value in model.named_parameters()}
    gradients = torch.autograd.grad(mean, [parameters[name] for name in names])
    assert_gradients_close(case, run, dict(zip(names, gradients)), 1e-6)


@pytest.mark.parametrize("name, run", CASES[2:])
def test_maps_of_cnns_are_the_published_ones(name, run):
    case, model = _published(name)
    with torch.no_grad():
        maps = model.features(_clips(case, model, run))
    for level, y in enumerate(maps.values()):
        assert_rows_close(case, f"{run}/level{level}", y, 1e-7)


@pytest.mark.parametrize("name, run", CASES)
def test_detections_are_the_published_ones(name, run):
    case, model = _published(name)
    clips = _clips(case, model, run)
    with torch.no_grad():
        (layer,) = model.predict(clips)
    options = {"person_thresh": model.person_thresh, "fallback_topk": model.fallback_topk}
    assert options == {"person_thresh": 0.6, "fallback_topk": 3}
    detections = detections_from_queries(
        layer,
        clips.sizes,
        exclusive=False,
        score_times_person=model.score_times_person,
        clip_boxes=True,
        **options,
    )
    for b, (found, (height, width)) in enumerate(zip(detections, clips.sizes)):
        kept = found.action_scores.any(-1).nonzero()[:, 0]
        if not (found.scores > 0.6).any():
            # Published in falling order of the person probability.
            kept = kept[found.scores[kept].argsort(descending=True)]
        assert_relatively_close(
            found.action_scores[kept], case.outputs[f"{run}/post/action_scores{b}"], 1e-7
        )
        # Published boxes end in the middle of the last pixel, and are fractions of the clip.
        last = torch.tensor([width - 1, height - 1, width - 1, height - 1])
        boxes = torch.minimum(found.pred_boxes.tensor[kept], last)
        boxes = boxes / torch.tensor([width, height, width, height])
        assert_relatively_close(boxes, case.outputs[f"{run}/post/boxes{b}"], 1e-6)


def test_float32_is_as_close_as_rounding_allows():
    case, model = _published(dtype=torch.float32)
    clips = _clips(case, model, "padded")
    with torch.no_grad():
        layers = model.predict(clips, all_layers=True)
    for index, layer in enumerate(layers):
        place = f"padded/stage{index}"
        assert_relatively_close(layer.action_logits, case.outputs[f"{place}/action_logits"], 1e-4)
        found = _pixel_boxes(layer, clips.sizes)
        assert_relatively_close(found, case.outputs[f"{place}/boxes"], 1e-4)


@pytest.mark.parametrize(
    "config, numbers",
    [("STMixer_ViTB_AVA22", (86_227_200, 10_276_544, 159_352_628, 255_856_372))],
)
def test_the_published_model_has_the_published_parameters(config, numbers):
    cfg = load_config(f"configs/AVA/{config}.yaml", ["MODEL.DEVICE", "meta"])
    with torch.device("meta"):
        model = build_model(cfg)
    parts = (model.backbone.body, model.backbone.lateral_convs, model.stm_head, model)
    assert tuple(sum(p.numel() for p in part.parameters()) for part in parts) == numbers
    assert len(model.stm_head.state_dict()) == 344  # with the weights of the loss it would be 345


def test_boxes_start_as_large_as_the_unpadded_clip():
    _, model = small_detector("STMixer")
    for stage in model.stm_head.decoder_stages:
        torch.nn.init.zeros_(stage.fc_reg.weight)
        torch.nn.init.zeros_(stage.fc_reg.bias)
    clips = [torch.zeros(3, 8, *size, dtype=torch.uint8) for size in ((41, 57), (50, 35))]
    batch = ClipBatch.from_clips(clips, model.pixel_mean, model.pixel_std, 8)
    assert batch.tensor.shape[-2:] == (56, 64)
    with torch.no_grad():
        (layer,) = model.predict(batch)
    expected = torch.tensor([0.5, 0.5, 1, 1]).expand(2, 4, 4)
    torch.testing.assert_close(layer.boxes, expected)
    found = model([{"clip": clip, "height": 100, "width": 80} for clip in clips])
    corners = found[1]["instances"].pred_boxes.tensor
    torch.testing.assert_close(corners, torch.tensor([0.0, 0, 80, 100]).expand(4, 4))


def test_losses_of_the_last_stage_train_the_boxes_of_the_first():
    cfg, model = small_detector("STMixer")
    losses = model.train()(small_batch(cfg))
    assert set(losses) == {f"{name}{end}" for name in TERMS for end in ("_0", "")}
    first = model.stm_head.decoder_stages[0].fc_reg.weight
    (gradient,) = torch.autograd.grad(losses["loss_bbox"], [first])
    assert gradient.abs().max() > 1e-6


def test_without_persons_the_actions_cost_nothing():
    cfg, model = small_detector("STMixer")
    losses = model.train()(small_batch(cfg, with_persons=False))
    assert losses["loss_ce"] == losses["loss_bbox"] == losses["loss_giou"] == 0
    assert losses["loss_ce_b"] > 0.01
    sum(losses.values()).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


def test_exclusive_actions_are_a_softmax_beside_the_person_decision():
    cfg, model = small_detector("STMixer", opts=["MODEL.EXCLUSIVE_ACTIONS", True])
    num_actions = cfg.MODEL.NUM_ACTIONS
    losses = model.train()(small_batch(cfg))
    assert losses["loss_ce"].isfinite() and losses["loss_ce_b"].isfinite()
    with torch.no_grad():
        found = model.eval()(small_batch(cfg, 1))[0]["instances"]
    assert found.action_scores.shape == (4, num_actions)
    torch.testing.assert_close(found.action_scores.sum(-1), found.scores)


def test_a_person_detector_has_persons_alone():
    cfg, model = small_detector("STMixer", opts=["MODEL.PERSON_ONLY", True])
    assert not [key for key in model.state_dict() if "_t." in key or "temporal" in key]
    losses = model.train()(small_batch(cfg))
    assert {name.removesuffix("_0") for name in losses} == {"loss_ce_b", "loss_bbox", "loss_giou"}
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with torch.no_grad():
        found = model.eval()(small_batch(cfg, 1))[0]["instances"]
    torch.testing.assert_close(found.action_scores[:, 0], found.scores)


def test_actions_start_at_their_prior_and_persons_undecided():
    cfg = load_config("configs/quick_schedules/STMixer_toy.yaml", ["MODEL.DEVICE", "cpu"])
    for stage in build_model(cfg).stm_head.decoder_stages:
        assert stage.fc_action.bias.tolist() == pytest.approx([-np.log(99)] * 80, rel=1e-6)
        assert stage.human_fc_cls.bias.abs().max() < 0.2


@pytest.mark.parametrize(
    "options, message",
    [
        (["MODEL.BACKBONE.NAME", "build_csn_backbone"], "build_csn_lateral_backbone"),
        (["MODEL.FPN.OUT_CHANNELS", 20], "MODEL.FPN.OUT_CHANNELS is 20"),
        ([f"{NODE}NUM_GROUPS", 3], "MODEL.STMIXER.NUM_GROUPS, 3"),
        ([f"{NODE}NUM_STEPS", 3], "MODEL.STMIXER.NUM_STEPS is 3"),
        ([f"{NODE}NUM_HEADS", 7], "7 attention heads"),
    ],
)
def test_options_that_do_not_fit_are_named(options, message):
    with pytest.raises(UserError, match=message):
        small_detector("STMixer", opts=options)


def test_clips_of_another_length_are_refused():
    _, model = small_detector("STMixer_ViT")
    with pytest.raises(UserError, match="6 frames have 3 time steps, but the model mixes 4"):
        model([{"clip": torch.zeros(3, 6, 48, 64, dtype=torch.uint8)}])
