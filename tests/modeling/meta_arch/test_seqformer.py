"""SeqFormer against stored outputs of the corrected public one, and its own contracts."""

import re

import pytest
import torch
from detectron2.modeling import build_model
from reference_cases import LARGE_BLOCKS, ReferenceCase, assert_close
from short_training import assert_all_persons_are_found, assert_trains_in_bfloat16, train_on

from tubedet.checkpoint import to_tubedet_names
from tubedet.engine import load_config
from tubedet.engine.optimizer import build_optimizer
from tubedet.modeling import ClipBatch

BASE = "configs/Base-SeqFormer.yaml"
SMALL = ["MODEL.DEVICE", "cpu", "MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.125]
SMALL += ["MODEL.CSN.TEMPORAL_STRIDES", (1, 2, 2, 1), "INPUT.CLIP.NUM_FRAMES", 8]
SMALL += ["MODEL.NUM_ACTIONS", 5, "MODEL.SEQFORMER.NUM_STEPS", 2]
SMALL += ["MODEL.SEQFORMER.NUM_QUERIES", 6, "MODEL.SEQFORMER.HIDDEN_DIM", 32]
SMALL += ["MODEL.SEQFORMER.NUM_HEADS", 4, "MODEL.SEQFORMER.FEEDFORWARD_DIM", 64]
SMALL += ["MODEL.SEQFORMER.ENC_LAYERS", 1, "MODEL.SEQFORMER.DEC_LAYERS", 3]


def _model(*opts):
    torch.manual_seed(0)
    return build_model(load_config(BASE, [*SMALL, *opts]))


def _predict(model, inputs, **options):
    clips = [x["clip"] for x in inputs]
    clips = ClipBatch.from_clips(clips, model.pixel_mean, model.pixel_std)
    with torch.no_grad():
        return model.predict(clips, **options)


@pytest.fixture(scope="module")
def case_and_model():
    if not (LARGE_BLOCKS / "seqformer_full_fixed.json").exists():
        pytest.skip(f"the reference case seqformer_full_fixed is not at {LARGE_BLOCKS}")
    case = ReferenceCase(LARGE_BLOCKS / "seqformer_full_fixed")
    hyper = case.meta["hyper"]
    opts = ["MODEL.DEVICE", "cpu", "MODEL.SEQFORMER.NUM_STEPS", case.meta["num_frames"]]
    opts += ["MODEL.CSN.TEMPORAL_STRIDES", hyper["temporal_strides"]]
    opts += ["MODEL.SEQFORMER.NUM_QUERIES", hyper["num_queries"]]
    opts += ["MODEL.SEQFORMER.FEEDFORWARD_DIM", hyper["dim_feedforward"]]
    opts += ["MODEL.SEQFORMER.ENC_LAYERS", hyper["encoder_layers"]]
    opts += ["MODEL.SEQFORMER.DEC_LAYERS", hyper["decoder_layers"]]
    model = build_model(load_config(BASE, opts))
    named = to_tubedet_names(case.state_dict())
    missing, unexpected = model.load_state_dict(named.weights, strict=False)
    assert not missing and all(key.endswith("num_batches_tracked") for key in unexpected)
    return case, model.eval().double()


@pytest.mark.parametrize("run", ["single", "padded"])
def test_whole_model_equals_the_corrected_public_one(case_and_model, run):
    case, model = case_and_model
    layers = _predict(model, [{"clip": clip} for clip in case.clips(run)], all_layers=True)
    for name, values in (
        ("pred_logits", [layer.action_logits for layer in layers]),
        ("pred_boxes", [layer.boxes for layer in layers]),
    ):
        assert_close(torch.stack(values), case.outputs[f"{run}/{name}"], 5e-5)


def test_training_reaches_every_parameter(make_clip_input):
    model = _model().train()
    for parameter in model.parameters():
        if not parameter.any():  # zero at the start, which would hide gradients behind it
            torch.nn.init.normal_(parameter, std=0.1)
    losses = model([make_clip_input(8, 48, 64, 5, seed=s) for s in range(2)])
    assert set(losses) == {
        name + suffix
        for name in ("loss_ce", "loss_bbox", "loss_giou")
        for suffix in ("", "_0", "_1")
    }
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_trunk_offsets_and_references_learn_slowly():
    model = _model()
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = build_optimizer(load_config(BASE, SMALL), model).param_groups
    slow = {names[p] for g in groups if g["lr"] == pytest.approx(2e-5) for p in g["params"]}
    fast = {names[p] for g in groups if g["lr"] == pytest.approx(2e-4) for p in g["params"]}
    assert slow | fast == set(names.values())
    assert slow == {n for n in slow | fast if re.match("backbone|.*(reference_p|sampling_o)", n)}
    assert any("sampling_offsets" in name for name in slow)


def test_before_training_boxes_lie_at_the_references_and_actions_have_their_prior(make_clip_input):
    model = _model().eval()
    layers = _predict(model, [make_clip_input(8, 48, 64, 5)], all_layers=True)
    points = model.transformer.reference_points(model.query_embed.weight[:, :32]).sigmoid()
    size = torch.full((6, 2), -2.0).sigmoid()
    for layer in layers:
        expected = torch.cat((points, size), dim=1).expand(1, 2, -1, -1)
        torch.testing.assert_close(layer.frame_boxes, expected, rtol=0, atol=1e-4)
        assert 0.001 < layer.action_logits.sigmoid().mean() < 0.05


def test_equal_sizes_in_a_batch_do_not_influence_each_other(make_clip_input):
    model = _model().eval()
    for head in model.box_heads:
        torch.nn.init.normal_(head.layers[-1].weight)
    inputs = [make_clip_input(8, 48, 64, 5, seed=s) for s in range(2)]
    (together,) = _predict(model, inputs)
    for b, clip_input in enumerate(inputs):
        (alone,) = _predict(model, [clip_input])
        for name in ("action_logits", "boxes", "frame_boxes"):
            value, expected = getattr(together, name)[b], getattr(alone, name)[0]
            torch.testing.assert_close(value, expected, rtol=0, atol=1e-5)
    assert (together.boxes[0] - together.boxes[1]).abs().max() > 1e-3


def test_only_tubes_train_the_boxes_of_other_frames(make_clip_input):
    model = _model("MODEL.SEQFORMER.DROPOUT", 0.0).train()
    clip_input = make_clip_input(8, 48, 64, 5)
    instances = clip_input["instances"]
    tubes = instances.gt_boxes.tensor[:, None].expand(-1, 8, -1).clone()

    def losses_and_gradients():
        seen = []
        hook = model.transformer.register_forward_hook(lambda _, x, y: seen.append(y[1]))
        losses = model([clip_input])
        hook.remove()
        (gradient,) = torch.autograd.grad(losses["loss_bbox"], seen)
        # Steps are centred on frames 0 and 4, the latter is the key frame.
        return losses["loss_bbox"].item(), gradient[-1].abs().sum((0, 2, 3)).tolist()

    _, (other, key) = losses_and_gradients()
    assert other == 0 and key > 0
    instances.gt_tubes = tubes
    still, (other, key) = losses_and_gradients()
    assert other > 0 and key > 0
    tubes[:, 1] += 20  # in no step
    assert losses_and_gradients()[0] == still
    tubes[:, 0] += 20
    moved, _ = losses_and_gradients()
    assert abs(moved - still) > 1e-2
    tubes[:, 0] = float("nan")
    _, (other, key) = losses_and_gradients()
    assert other == 0 and key > 0


def test_shared_heads_without_refinement(make_clip_input):
    model = _model("MODEL.SEQFORMER.BOX_REFINE", False, "MODEL.CRITERION.AUX_LOSS", False).train()
    assert len(model.box_heads) == len(model.action_heads) == 1
    losses = model([make_clip_input(8, 48, 64, 5)])
    assert set(losses) == {"loss_ce", "loss_bbox", "loss_giou"}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())


def test_exclusive_actions_have_a_no_object_output(make_clip_input):
    model = _model("MODEL.EXCLUSIVE_ACTIONS", True)
    inputs = [make_clip_input(8, 48, 64, 5, num_boxes=n) for n in (2, 0)]
    losses = model.train()(inputs)
    assert all(torch.isfinite(value) for value in losses.values())
    with torch.no_grad():
        found = model.eval()(inputs)[0]["instances"]
    assert model.action_heads[0].out_features == 6
    assert found.action_scores.shape == (6, 5)
    torch.testing.assert_close(found.scores, found.action_scores.sum(1))


def test_bfloat16_autocast_trains(make_clip_input):
    assert_trains_in_bfloat16(_model(), [make_clip_input(8, 48, 64, 5)])


def test_overfits_two_clips(make_clip_input):
    model = _model("MODEL.SEQFORMER.DROPOUT", 0.0)
    inputs = [make_clip_input(8, 48, 64, 5, seed=s) for s in range(2)]
    train_on(model, inputs, num_steps=120, learning_rate=5e-3, last_factor=0.05)
    results = assert_all_persons_are_found(model, inputs, min_score=0.5, min_overlap=0.5)
    for clip_input, found in zip(inputs, results):
        assert (found.scores > 0.5).sum() == len(clip_input["instances"])


@pytest.mark.parametrize(
    "opts, message",
    [
        (["MODEL.CRITERION.AUX_LOSS", False], "MODEL.CRITERION.AUX_LOSS must be True"),
        (["MODEL.SEQFORMER.NUM_LEVELS", 2], "NUM_LEVELS"),
        (["MODEL.SEQFORMER.NUM_STEPS", 0], "MODEL.SEQFORMER.NUM_STEPS is 0"),
    ],
)
def test_wrong_settings_name_their_key(opts, message):
    with pytest.raises(ValueError, match=message):
        _model(*opts)


@pytest.mark.parametrize(
    "num_steps, message", [(1, "none of"), (3, "none of"), (4, "2 time steps")]
)
def test_steps_that_miss_the_key_frame_are_refused(make_clip_input, num_steps, message):
    model = _model("MODEL.SEQFORMER.NUM_STEPS", num_steps)
    with pytest.raises(ValueError, match=f"{message}.*MODEL.SEQFORMER.NUM_STEPS {num_steps}"):
        model.eval()([make_clip_input(8, 48, 64, 5)])
