"""TubeR against stored outputs of the published implementation, and its own contracts."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from reference_cases import FIXTURES, LARGE, ReferenceCase

from tubedet.engine import load_config, load_model
from tubedet.engine.model_loading import build_checkpointer
from tubedet.modeling import ClipBatch, ClipTarget, DeformableTubeR, TubeR

CASES = {
    "tuber_csn50_ava21": (FIXTURES, "configs/AVA/TubeR_CSN50_AVA21.yaml", []),
    "tuber_csn152_ava21": (LARGE, "configs/AVA/TubeR_CSN152_AVA21.yaml", []),
    "tuber_csn152_jhmdb": (
        LARGE,
        "configs/AVA/TubeR_CSN152_AVA21.yaml",
        ["MODEL.TUBER.QUERY_TYPE", "tubelet", "MODEL.TUBER.TEMPORAL_POOLING", "none"]
        + ["MODEL.EXCLUSIVE_ACTIONS", True]
        + ["MODEL.TUBER.NUM_QUERIES", 10, "MODEL.NUM_ACTIONS", 21]
        + ["MODEL.CRITERION.COST_CLASS", 1.0, "MODEL.CRITERION.ACTION_LOSS_WEIGHT", 1.0],
    ),
}
SMALL = ["MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125, "MODEL.TUBER.HIDDEN_DIM", 32]
SMALL += ["MODEL.TUBER.FEEDFORWARD_DIM", 64, "MODEL.TUBER.DEC_LAYERS", 3]
SMALL += ["MODEL.TUBER.ENC_LAYERS", 1, "INPUT.CLIP.NUM_FRAMES", 8, "MODEL.DEVICE", "cpu"]


PATHS = {
    "straightforward": ["MODEL.CSN.EXECUTION", "modules"],
    "fast": [],
}


@pytest.fixture(scope="module", params=[(name, path) for name in CASES for path in PATHS], ids=str)
def case_and_model(request, tmp_path_factory):
    """A reference case, and our model loaded from its weights as a released checkpoint."""
    name, path = request.param
    folder, config, opts = CASES[name]
    opts = [*opts, *PATHS[path]]
    if not (folder / f"{name}.json").exists():
        pytest.skip(f"the reference case {name} is not at {folder}")
    case = ReferenceCase(folder / name)
    weights = tmp_path_factory.mktemp("released") / "ckpt.pth"
    torch.save({"model": {f"module.{k}": v for k, v in case.state_dict().items()}}, weights)
    cfg = load_config(config, [*opts, "MODEL.WEIGHTS", str(weights), "MODEL.DEVICE", "cpu"])
    if path == "fast":
        return case, load_model(cfg)
    model = TubeR(cfg, repeat_equal_work=True)
    build_checkpointer(cfg, model).resume_or_load(cfg.MODEL.WEIGHTS, resume=False)
    return case, model.eval()


def _targets(case, run, dtype, num_actions):
    targets = []
    for b in range(len(case.clips(run))):
        boxes, labels = case.target(run, b)
        if labels.dim() == 1:
            labels = torch.nn.functional.one_hot(labels, num_actions)
        targets.append(ClipTarget(boxes.to(dtype), labels.to(dtype)))
    return targets


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
def test_raw_outputs_equal_the_published(case_and_model, dtype):
    case, model = case_and_model
    model = model.to(dtype)
    for run in case.runs:
        clips = ClipBatch.from_clips(case.clips(run), model.pixel_mean, model.pixel_std)
        with torch.no_grad():
            layers = model.predict_all_slots(clips, all_layers=True)
        prefixes = [f"{run}/aux{i}/" for i in range(5)] + [f"{run}/"]
        logits_atol, boxes_atol = 5e-3, 5e-4
        if dtype == torch.float64:
            layers, prefixes = layers[-1:], [f"{run}/fp64/"]
            logits_atol = boxes_atol = 1e-6
        for layer, prefix in zip(layers, prefixes, strict=True):
            for name, value, atol in (
                ("pred_logits", layer.action_logits, logits_atol),
                ("pred_logits_b", layer.person_logits, logits_atol),
                ("pred_boxes", layer.boxes, boxes_atol),
            ):
                if prefix + name not in case.outputs and name == "pred_logits_b":
                    continue  # the clip's visibility is stored once
                np.testing.assert_allclose(value, case.outputs[prefix + name], rtol=0, atol=atol)


def test_matches_and_losses_equal_the_published(case_and_model):
    case, model = case_and_model
    model = model.double().eval()
    fast = not model.action_head.repeat_equal_work
    features = []
    hook = model.backbone.register_forward_hook(lambda _, x, y: features.append(y["res5"]))
    for run in case.runs:
        clips = ClipBatch.from_clips(case.clips(run), model.pixel_mean, model.pixel_std)
        targets = _targets(case, run, torch.float64, model.num_actions)
        with torch.set_grad_enabled(fast):  # a trunk is fused only for its gradients
            layers = model.predict(clips, all_layers=True)
            losses = model.criterion(layers, targets)
        assert fast == ("Bottleneck" in type(features.pop().grad_fn).__name__)
        for b, (rows, columns) in enumerate(model.criterion.match(layers[-1], targets)):
            if f"{run}/match{b}" in case.outputs:
                expected = case.outputs[f"{run}/match{b}"].tolist()
                assert [rows.tolist(), columns.tolist()] == expected
        for name, value in losses.items():
            weight = case.meta["weight_dict"][name.rstrip("_012345")]
            expected = weight * case.outputs[f"{run}/loss/{name}"].item()
            assert value.item() == pytest.approx(expected, rel=1e-4, abs=1e-3), name
        total = case.outputs[f"{run}/loss_total"].item()
        assert sum(losses.values()).item() == pytest.approx(total, rel=1e-4)
        assert len(losses) == 4 * 6
    hook.remove()


def test_detections_equal_the_published(case_and_model):
    case, model = case_and_model
    model = model.float().eval()
    for run in case.runs:
        clips = case.clips(run)
        with torch.no_grad():
            results = model([{"clip": clip} for clip in clips])
        for b, result in enumerate(results):
            found = result["instances"]
            rows = slice(0, None)
            if model.exclusive:  # stored for all 32 slots of 10 queries; the key slot is ours
                rows = slice(160, 170)
            boxes = case.outputs[f"{run}/post/boxes"][b][rows]
            scores = case.outputs[f"{run}/post/scores"][b][rows][:, : model.num_actions]
            np.testing.assert_allclose(found.pred_boxes.tensor, boxes, rtol=0, atol=0.05)
            if model.exclusive:
                # Stored scores know no person threshold.
                shown = found.scores > model.person_thresh
                assert shown.any()
                np.testing.assert_allclose(
                    found.action_scores[shown], scores[shown], rtol=0, atol=1e-3
                )
            else:
                person = case.outputs[f"{run}/post/person"][b, :, 0]
                # No rounding decides whose actions are shown.
                assert np.abs(person - model.person_thresh).min() > 1e-2
                np.testing.assert_allclose(found.action_scores, scores, rtol=0, atol=1e-3)
                np.testing.assert_allclose(found.scores, person, rtol=0, atol=1e-3)


def test_parameter_counts_are_the_published_ones(case_and_model):
    case, model = case_and_model
    published = {
        "tuber_csn50_ava21": 75_393_959 - 163_920,  # without the unused classifier
        "tuber_csn152_ava21": 49_820_503,
        "tuber_csn152_jhmdb": 49_887_004,
    }
    assert sum(p.numel() for p in model.parameters()) == published[case.meta["case"]]


@pytest.fixture
def small_model():
    torch.manual_seed(0)
    return build_model(load_config("", SMALL))


def _idle_parameters(model, inputs):
    """Names of the parameters that a training step leaves without a gradient."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):  # zero at the start, which would hide gradients behind them
            torch.nn.init.normal_(parameter, std=0.1)
    losses = model.train()(inputs)
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    return losses, [n for n, p in model.named_parameters() if not p.grad.any()]


# DETR's queries start at zero, so all values of the first self attention are equal to its bias:
# neither what is compared nor the weight of the values matters beyond rounding.
ZERO_BY_DESIGN = ["transformer.decoder.layers.0.self_attn.in_proj_weight"]


def test_training_reaches_every_parameter(small_model, make_clip_input):
    inputs = [make_clip_input(8, 48, 64, 80, seed=s) for s in range(2)]
    losses, idle = _idle_parameters(small_model, inputs)
    assert set(losses) == {
        name + suffix
        for name in ("loss_ce", "loss_ce_b", "loss_bbox", "loss_giou")
        for suffix in ("", "_0", "_1")
    }
    assert set(idle) <= set(ZERO_BY_DESIGN)


@pytest.mark.parametrize("exclusive", [True, False])
def test_tubelet_training_reaches_every_parameter(make_clip_input, exclusive):
    torch.manual_seed(0)
    opts = ["MODEL.TUBER.QUERY_TYPE", "tubelet", "MODEL.TUBER.TEMPORAL_POOLING", "none"]
    opts += ["MODEL.EXCLUSIVE_ACTIONS", exclusive, "MODEL.TUBER.NUM_QUERIES", 3]
    model = build_model(load_config("", [*SMALL, *opts]))
    inputs = [make_clip_input(8, 48, 64, 80, num_boxes=n) for n in (1, 0)]
    losses, idle = _idle_parameters(model, inputs)
    assert set(idle) <= set(ZERO_BY_DESIGN)
    assert "loss_ce_b" in losses  # visibility of the clip, or a person decision per query
    (result, _) = model.eval()(inputs)
    assert len(result["instances"]) == 3 and result["instances"].action_scores.shape == (3, 80)


def test_exclusive_actions_need_no_person_decision(make_clip_input):
    torch.manual_seed(0)
    model = build_model(load_config("", [*SMALL, "MODEL.EXCLUSIVE_ACTIONS", True]))
    inputs = [make_clip_input(8, 48, 64, 80, num_boxes=n) for n in (1, 0)]
    losses, idle = _idle_parameters(model, inputs)
    assert set(idle) <= set(ZERO_BY_DESIGN)
    assert not any(name.startswith("loss_ce_b") for name in losses)
    (result, _) = model.eval()(inputs)
    assert result["instances"].action_scores.sum(1).lt(1).all()


def test_the_focal_action_loss_is_a_switch(make_clip_input):
    inputs = [make_clip_input(8, 48, 64, 80)]
    losses = {}
    for kind in ("bce", "focal"):
        torch.manual_seed(0)
        model = build_model(load_config("", [*SMALL, "MODEL.CRITERION.ACTION_LOSS", kind]))
        torch.manual_seed(0)
        losses[kind] = model.train()(inputs)
    assert losses["bce"]["loss_ce"] != losses["focal"]["loss_ce"]
    assert losses["bce"]["loss_bbox"] == losses["focal"]["loss_bbox"]


def test_equal_sizes_in_a_batch_do_not_influence_each_other(small_model, make_clip_input):
    model = small_model.double().eval()
    model.person_thresh = 0.0
    inputs = [make_clip_input(8, 48, 64, 80, seed=s) for s in range(2)]
    with torch.no_grad():
        together = model(inputs)
        alone = [model([x])[0] for x in inputs]
    for a, b in zip(together, alone):
        for field in ("scores", "action_scores"):
            torch.testing.assert_close(
                a["instances"].get(field), b["instances"].get(field), rtol=0, atol=1e-9
            )


def test_masking_the_context_removes_the_influence_of_padding_there(make_clip_input):
    """With padding hidden from the context, queries see what they see without padding."""
    torch.manual_seed(0)
    head = build_model(load_config("", [*SMALL, "MODEL.TUBER.MASK_CONTEXT", True])).action_head
    head = head.eval()
    queries, features = torch.randn(1, 1, 15, 32), torch.randn(1, 256, 2, 3, 4)
    padded = torch.nn.functional.pad(features, (0, 2, 0, 1), value=3.0)
    mask = torch.ones(1, 4, 6, dtype=torch.bool)
    mask[:, :3, :4] = False
    with torch.no_grad():
        alone = head(queries, features, torch.zeros(1, 3, 4, dtype=torch.bool))
        torch.testing.assert_close(head(queries, padded, mask), alone, rtol=0, atol=1e-5)
        head.mask_context = False
        assert (head(queries, padded, mask) - alone).abs().max() > 1e-3


def test_boxes_come_in_the_wanted_size_and_query_order(small_model, make_clip_input):
    model = small_model.eval()
    model.person_thresh = 0.0
    clip_input = make_clip_input(8, 48, 64, 80)
    with torch.no_grad():
        (small,) = model([clip_input])
        (large,) = model([{**clip_input, "height": 96, "width": 128}])
    assert len(small["instances"]) == 15
    torch.testing.assert_close(
        large["instances"].pred_boxes.tensor, 2 * small["instances"].pred_boxes.tensor
    )
    assert large["instances"].image_size == (96, 128)


def test_wrong_inputs_are_named(small_model, make_clip_input):
    clip_input = make_clip_input(8, 48, 64, 80)
    del clip_input["instances"]
    with pytest.raises(ValueError, match="'synthetic' at 902.0 s has no 'instances'"):
        small_model.train()([clip_input])
    with pytest.raises(ValueError, match="21 columns, MODEL.NUM_ACTIONS is 80"):
        small_model.train()([make_clip_input(8, 48, 64, 21)])
    with pytest.raises(ValueError, match="QUERY_TYPE is 'tube'"):
        build_model(load_config("", [*SMALL, "MODEL.TUBER.QUERY_TYPE", "tube"]))
    with pytest.raises(ValueError, match="one backbone map"):
        build_model(load_config("", [*SMALL, "MODEL.CSN.OUT_FEATURES", ["res4", "res5"]]))


@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize(
    ("architecture", "config"), [(TubeR, "TubeR_toy"), (DeformableTubeR, "D4_TubeR_toy")]
)
def test_an_argument_decides_whether_equal_work_is_repeated(architecture, config, repeat):
    cfg = load_config(f"configs/quick_schedules/{config}.yaml", ["MODEL.DEVICE", "cpu"])
    model = architecture(cfg, repeat_equal_work=repeat)
    assert model.action_head.repeat_equal_work is repeat
    if architecture is TubeR:
        assert model.temporal_pooling.repeat_equal_work is repeat
