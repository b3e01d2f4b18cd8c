"""Training and reports of the class-query detector, on a small model."""

import math

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances

from tubedet.engine import load_config
from tubedet.modeling import ClipBatch

TUBES = ["MODEL.CLASS_QUERY.FRAMES", "all", "MODEL.CRITERION.ACTION_LOSS_OF_SCORES", True]
NUM_FRAMES, NUM_ACTIONS = 8, 5


def _model(*options):
    torch.manual_seed(0)
    own = ["MODEL.DEVICE", "cpu", "MODEL.NUM_ACTIONS", NUM_ACTIONS]
    return build_model(load_config("configs/quick_schedules/ClassQuery_toy.yaml", [*own, *options]))


@pytest.fixture
def clip_input(make_clip_input):
    return make_clip_input(NUM_FRAMES, 48, 48, NUM_ACTIONS)


@pytest.fixture
def tube_input(clip_input):
    """Two persons in all frames, a third one in the first two; the last three repeat the fifth."""
    instances = clip_input["instances"]
    instances.gt_tubes = instances.gt_boxes.tensor[:, None].repeat(1, NUM_FRAMES, 1)
    others = Instances(instances.image_size)
    others.gt_tubes = torch.full((1, NUM_FRAMES, 4), float("nan"))
    others.gt_tubes[:, :2] = torch.tensor([30.0, 10.0, 45.0, 40.0])
    others.gt_actions = torch.eye(NUM_ACTIONS)[4:]
    annotated = np.arange(NUM_FRAMES) < 5
    return {**clip_input, "other_persons": others, "frame_annotated": annotated}


@pytest.mark.parametrize(
    "options",
    [
        [],
        TUBES,
        ["MODEL.CRITERION.AUX_LOSS", False],
        ["MODEL.PERSON_ONLY", True],
        ["MODEL.EXCLUSIVE_ACTIONS", True],
        ["MODEL.CLASS_QUERY.DEC_LAYERS", 1],
    ],
    ids=["key_frame", "tubes", "last_layer", "persons", "exclusive", "one_layer"],
)
def test_every_parameter_has_a_gradient_after_a_training_step(options, tube_input):
    model = _model(*options).train()
    losses = model([tube_input])
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)


def test_classes_learn_through_dropout_or_a_varied_norm(clip_input):
    def gradients(dropout, spread):
        options = ["MODEL.CLASS_QUERY.ACTION_DROPOUT", dropout]
        model = _model(*options, "MODEL.CLASS_QUERY.ACTION_SPREAD", spread).train()
        sum(model([clip_input]).values()).backward()
        decoder = model.transformer.decoder
        return decoder.class_queries.weight.grad.abs().max(), decoder.cls_norm2.weight.grad

    queries, norm = gradients(0.0, 0.0)
    assert queries < 1e-6 and norm.abs().max() > 1e-4
    assert gradients(0.5, 0.0)[0] > 1e-5
    assert gradients(0.0, 3.0)[0] > 1e-4


@pytest.mark.parametrize("prior", [0.5, 0.05])
def test_action_scores_start_at_their_prior(prior, clip_input):
    options = ["MODEL.CLASS_QUERY.ACTION_PRIOR", prior, "MODEL.CLASS_QUERY.ACTION_SPREAD", 0.0]
    model = _model(*options).eval()
    with torch.no_grad():
        (result,) = model([clip_input])
    scores = result["instances"].action_scores
    torch.testing.assert_close(scores, torch.full_like(scores, prior), rtol=1e-4, atol=0)


def test_scores_take_the_person_probability_on_demand(clip_input):
    results = {}
    for times_person in (False, True):
        model = _model("MODEL.CLASS_QUERY.SCORE_TIMES_PERSON", times_person).eval()
        with torch.no_grad():
            results[times_person] = model([clip_input])[0]["instances"]
    person = results[True].scores
    assert torch.equal(person, results[False].scores) and (person < 1).all()
    expected = results[False].action_scores * person[:, None]
    torch.testing.assert_close(results[True].action_scores, expected)


def test_tubes_are_learned_where_they_are_annotated(tube_input):
    model = _model(*TUBES, "MODEL.CRITERION.LABEL_SMOOTHING", 0.0).eval()
    with torch.no_grad():  # predictions in evaluation, losses of these
        targets = [model._target(tube_input, (48, 48))]
        losses = _losses(model, tube_input, targets)
        others = targets[0].others
        targets[0].others = None
        without = _losses(model, tube_input, targets)
        targets[0].others, targets[0].frame_annotated = others, None
        padded = _losses(model, tube_input, targets)
    assert losses["loss_bbox"] != without["loss_bbox"]
    assert losses["loss_ce_b"] != padded["loss_ce_b"]


def _losses(model, clip_input, targets):
    clips = ClipBatch.from_clips([clip_input["clip"]], model.pixel_mean, model.pixel_std)
    return model.criterion(model.predict(clips, all_layers=True), targets)


def test_of_tubes_the_key_frame_is_reported(tube_input):
    model = _model(*TUBES).eval()
    with torch.no_grad():
        model.refpoint_embed.weight.normal_()
        (result,) = model([tube_input])
        layer = model.predict(model.batch([tube_input]))[-1]
    assert layer.boxes.shape == (1, NUM_FRAMES, 4, 4)
    centre = result["instances"].pred_boxes.get_centers() / 48
    torch.testing.assert_close(centre, layer.boxes[0, NUM_FRAMES // 2, :, :2])
    assert not torch.allclose(centre, layer.boxes[0, 0, :, :2])


def test_the_smoothed_loss_of_a_fresh_model_is_known(clip_input):
    """All scores are 0.5: numbers by hand."""
    options = ["MODEL.CLASS_QUERY.ACTION_PRIOR", 0.5, "MODEL.CLASS_QUERY.ACTION_SPREAD", 0.0]
    options += [
        "MODEL.CRITERION.ACTION_LOSS",
        "query_focal",
        "MODEL.CRITERION.LABEL_SMOOTHING",
        0.1,
    ]
    model = _model(*options, "MODEL.CRITERION.ACTION_LOSS_WEIGHT", 10.0)
    losses = model.train()([clip_input])
    focal = 0.25 * math.log(2)  # without the share of the class
    yes, no = ((0.25 * t + 0.75 * (1 - t)) * focal for t in (0.95, 0.05))
    matched, unmatched = (yes + 4 * no) / 5, no
    expected = 10 * (2 * 10 * matched + 2 * unmatched)
    assert losses["loss_ce"].item() == pytest.approx(expected, rel=1e-4)
