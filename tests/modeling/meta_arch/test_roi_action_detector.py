"""Classifying given boxes: which ones come back, with which scores, and how it learns."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_model
from detectron2.structures import Boxes, Instances
from short_training import assert_all_persons_are_found, assert_trains_in_bfloat16, train_on
from small_detectors import small_detector
from torch.nn.functional import avg_pool3d

from tubedet.engine import load_config
from tubedet.errors import UserError
from tubedet.modeling import prepare_for_inference
from tubedet.modeling.backbone.csn.folded import FoldedStem

TOY = "configs/quick_schedules/RoI_toy.yaml"
SMALL = ["MODEL.DEVICE", "cpu", "MODEL.NUM_ACTIONS", 5]


class Brightness(Backbone):
    """One map of stride 16: the mean brightness of 16x16 pixels."""

    def forward(self, x):
        return {"brightness": avg_pool3d(x, (1, 16, 16)).mean(1, keepdim=True)}

    def output_shape(self):
        return {"brightness": ShapeSpec(channels=1, stride=16)}


@pytest.fixture(scope="module", autouse=True)
def registered():
    """The backbone by its name."""
    BACKBONE_REGISTRY._do_register("Brightness", lambda cfg, _: Brightness())
    yield
    del BACKBONE_REGISTRY._obj_map["Brightness"]


def _model(*opts):
    torch.manual_seed(0)
    return build_model(load_config(TOY, [*SMALL, *opts]))


def _bright_model(*opts):
    """Logits of a box are (b, -b): b is the largest brightness of a cell that it touches."""
    model = _model("MODEL.NUM_ACTIONS", 2, "MODEL.BACKBONE.NAME", "Brightness", *opts)
    head = model.action_head
    with torch.no_grad():
        head.fc.bias.zero_()
        head.fc.weight.copy_(torch.tensor([[50.0]] * head.first_column + [[1.0], [-1.0]]))
    model.pixel_mean.zero_()
    model.pixel_std.fill_(1 / 255)
    return model.eval()


def _proposals(rows, scores, **fields):
    boxes = Boxes(torch.tensor(rows, dtype=torch.float32).reshape(-1, 4))
    return Instances((32, 64), proposal_boxes=boxes, scores=torch.tensor(scores), **fields)


def _bright_input(rows, scores, **fields):
    """A clip of 32x64 whose columns of 16 pixels have the brightness 0, 1, 2 and 3."""
    columns = torch.arange(4).repeat_interleave(16).to(torch.uint8)
    return {
        "clip": columns.expand(3, 4, 32, 64).clone(),
        "proposals": _proposals(rows, scores, **fields),
        "height": 64,
        "width": 128,
    }


ROWS = [[1.0, 2, 15, 30], [50, 2, 63, 30], [1, 2, 15, 30], [-20, 0, -1, 9]]
SCORES = [0.9, 0.8, 0.7, 1.0]
CONTINUOUS = ["MODEL.ROI_ACTION.INCLUSIVE_PIXELS", False]
CONTINUOUS += ["MODEL.ROI_ACTION.BOX_EXTENSION", (0, 0)]
SECOND = 3.0  # the brightness of the second box


def test_boxes_come_back_in_the_wanted_size_with_their_scores():
    inputs = [_bright_input(ROWS, SCORES, track=torch.tensor([7, 8, 9, 10]))]
    (found,) = _bright_model(*CONTINUOUS)(inputs)
    found = found["instances"]
    # The third has too small a score, the fourth lies outside.
    assert found.image_size == (64, 128)
    assert found.pred_boxes.tensor.tolist() == [[2, 4, 30, 60], [100, 4, 126, 60]]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.8]))
    assert found.track.tolist() == [7, 8]
    assert found.action_scores.shape == (2, 2)
    expected = torch.tensor([[SECOND, -SECOND]]).sigmoid() * 0.8
    torch.testing.assert_close(found.action_scores[1:], expected)
    assert found.action_scores[0, 0] < 0.9 * torch.tensor(1.0).sigmoid()


def test_scores_are_those_of_actions_alone_on_demand():
    (found,) = _bright_model(*CONTINUOUS, "MODEL.ROI_ACTION.SCORE_TIMES_BOX", False)(
        [_bright_input(ROWS, SCORES)]
    )
    expected = torch.tensor([SECOND, -SECOND]).sigmoid()
    torch.testing.assert_close(found["instances"].action_scores[1], expected)


def test_exclusive_actions_share_one():
    opts = ["MODEL.EXCLUSIVE_ACTIONS", True, "MODEL.ROI_ACTION.FIRST_COLUMN", 1]
    model = _bright_model(*CONTINUOUS, *opts)
    (found,) = model([_bright_input(ROWS, SCORES)])
    expected = torch.tensor([2 * SECOND, -2 * SECOND]).sigmoid() * 0.8
    torch.testing.assert_close(found["instances"].action_scores[1], expected)


def test_clips_of_a_batch_keep_their_boxes():
    """Also where one has none, and another is larger; the boxes lie far from the padding."""
    model = _bright_model(*CONTINUOUS)
    rows = [[1, 2, 15, 30], [18, 2, 31, 30]]
    wide = _bright_input([rows[1]], [1.0])
    wide["clip"] = torch.cat((wide["clip"], wide["clip"] + 4), 3)
    inputs = [_bright_input(rows, [1.0, 0.9]), _bright_input([], []), wide]
    together = [x["instances"] for x in model(inputs)]
    assert [len(x) for x in together] == [2, 0, 1]
    for clip_input, found in zip(inputs, together):
        (alone,) = model([clip_input])
        torch.testing.assert_close(found.action_scores, alone["instances"].action_scores)
        assert torch.equal(found.pred_boxes.tensor, alone["instances"].pred_boxes.tensor)
    assert together[1].action_scores.shape == (0, 2)


def test_only_features_see_the_extension():
    """A box that ends 1 pixel before bright columns touches them when it is extended."""
    row = [[34.0, 2, 47, 30]]
    scores = []
    for shares in ((0, 0), (1.0, 0)):
        opts = ["MODEL.ROI_ACTION.BOX_EXTENSION", shares, *CONTINUOUS[:2]]
        model = _bright_model(*opts, "MODEL.ROI_ACTION.POOLER_ALIGNED", True)
        (found,) = model([_bright_input(row, [1.0])])
        assert found["instances"].pred_boxes.tensor.tolist() == [[68, 4, 94, 60]]
        scores.append(found["instances"].action_scores[0, 0].logit().item())
    assert scores[1] > scores[0] + 0.3


@pytest.mark.parametrize("with_proposals", [False, True])
def test_training_reaches_every_parameter_whatever_is_annotated(with_proposals, make_clip_input):
    opts = ["MODEL.ROI_ACTION.TRAIN_ON_PROPOSALS", with_proposals]
    _, model = small_detector("RoI", opts=[*opts, "MODEL.NUM_ACTIONS", 5])
    inputs = [make_clip_input(4, 48, 64, 5, num_boxes=n) for n in (2, 0)]
    losses = model.train()(inputs)
    assert set(losses) == {"loss_ce"}
    losses["loss_ce"].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_batch_without_boxes_is_a_zero_with_gradients(make_clip_input):
    model = _model().train()
    losses = model([make_clip_input(4, 48, 64, 5, num_boxes=0)])
    losses["loss_ce"].backward()
    assert losses["loss_ce"].item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_the_loss_sums_boxes_and_has_its_weight(make_clip_input):
    """At the start every action has the probability 0.5, whatever is seen: log 2 each."""
    opts = ["MODEL.CRITERION.ACTION_LOSS_WEIGHT", 3.0, "MODEL.ROI_ACTION.ACTION_PRIOR", 0.5]
    inputs = [make_clip_input(4, 48, 64, 5, num_boxes=n) for n in (3, 4)]
    for reduction, boxes in (("sum", 7), ("mean", 1)):
        model = _model(*opts, "MODEL.ROI_ACTION.LOSS_REDUCTION", reduction)
        loss = model.train()(inputs)["loss_ce"].item()
        assert loss == pytest.approx(3 * boxes * 0.693147, rel=1e-3)


def test_training_draws_another_jitter_every_time(make_clip_input):
    _, model = small_detector("RoI", opts=["MODEL.NUM_ACTIONS", 5, "MODEL.CSN.NORM", "FrozenBN"])
    inputs = [make_clip_input(4, 48, 64, 5)]
    model.train()
    losses = [model(inputs)["loss_ce"].item() for _ in range(2)]
    assert losses[0] != losses[1]


def test_prepared_it_gives_the_same(make_clip_input):
    _, model = small_detector("RoI", opts=["MODEL.NUM_ACTIONS", 5])
    model.double()
    inputs = [make_clip_input(8, 41, 57, 5), make_clip_input(8, 50, 35, 5, seed=1)]
    prepared = prepare_for_inference(model)
    assert any(isinstance(module, FoldedStem) for module in prepared.modules())
    with torch.no_grad():
        for ours, theirs in zip(prepared(inputs), model(inputs)):
            ours, theirs = ours["instances"].action_scores, theirs["instances"].action_scores
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
            assert (theirs[0] - theirs[1]).abs().max() > 1e-5


def test_bfloat16_autocast_trains_and_keeps_boxes(make_clip_input):
    model = _model()
    inputs = [make_clip_input(2, 48, 48, 5)]
    assert_trains_in_bfloat16(model, inputs)
    prepared = prepare_for_inference(model, torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (found,) = prepared(inputs)
    found = found["instances"]
    assert found.action_scores.dtype == torch.float32
    given = inputs[0]["proposals"].proposal_boxes.tensor
    assert torch.equal(found.pred_boxes.tensor, given)


def test_overfits_two_clips(make_clip_input):
    model = _model()
    inputs = [make_clip_input(2, 48, 48, 5, seed=s) for s in range(2)]
    train_on(model, inputs, num_steps=120, learning_rate=3e-3, last_factor=0.1)
    results = assert_all_persons_are_found(model, inputs, min_score=0.5, min_overlap=0.999)
    for clip_input, found in zip(inputs, results):
        truth = clip_input["instances"].gt_actions
        assert torch.equal((found.action_scores > 0.5).float(), truth)


@pytest.mark.parametrize(
    "opts, message",
    [
        (["MODEL.PERSON_ONLY", True], "MODEL.PERSON_ONLY is True"),
        (["MODEL.ROI_ACTION.IN_FEATURES", ["res1"]], "MODEL.ROI_ACTION.IN_FEATURES is ..res1"),
        (["MODEL.ROI_ACTION.LOSS_REDUCTION", "max"], "MODEL.ROI_ACTION.LOSS_REDUCTION is 'max'"),
        (["MODEL.CRITERION.ACTION_LOSS", "l1"], "MODEL.CRITERION.ACTION_LOSS is 'l1'; choose"),
    ],
)
def test_wrong_settings_name_their_key(opts, message):
    with pytest.raises(UserError, match=message):
        _model(*opts)


def test_missing_boxes_are_said_in_one_line(make_clip_input):
    model = _model("MODEL.ROI_ACTION.TRAIN_ON_PROPOSALS", True)
    clip_input = make_clip_input(4, 48, 64, 5)
    del clip_input["proposals"]
    for mode in (True, False):
        with pytest.raises(UserError, match="'synthetic' at 902.0 s has no 'proposals'") as caught:
            model.train(mode)([clip_input])
        assert len(str(caught.value).splitlines()) == 1
    _model().train()([clip_input])  # the annotated boxes are enough
