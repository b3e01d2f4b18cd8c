import math
from functools import partial

import pytest
import torch
from detectron2.utils import comm
from reference_cases import BLOCKS, ReferenceCase, assert_close

from tubedet.modeling import ClipTarget, HungarianMatcher, LayerOutput, SetCriterion
from tubedet.modeling.losses import average_num_boxes

WEIGHTS = {"loss_ce": 12.0, "loss_ce_b": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}


def _criterion(exclusive=False, cost_class=12, **arguments):
    return SetCriterion(
        matcher=HungarianMatcher(cost_class=cost_class, cost_bbox=5, cost_giou=2),
        exclusive=exclusive,
        weights=WEIGHTS,
        matched_action_weight=10.0,
        **arguments,
    )


def _cross_entropy(logits, target):
    return math.log(sum(math.exp(x) for x in logits)) - logits[target]


def test_multi_label_terms_by_hand():
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]])
    target = ClipTarget(torch.tensor([[0.5, 0.5, 0.4, 0.4]]), torch.tensor([[1.0, 0.0]]))
    person = torch.tensor([[[0.0, 2.0, 1.0], [0.5, 0.0, 1.5]]])
    actions = torch.tensor([[[0.3, -0.7], [1.1, 0.2]]])
    losses = _criterion()([LayerOutput(actions, boxes, person)], [target])

    def bce(logit, y):
        return math.log1p(math.exp(logit)) - logit * y

    expected = {
        # The matched query counts ten times; mean over 1 clip x 2 queries x 2 actions.
        "loss_ce": 12 * (10 * (bce(0.3, 1) + bce(-0.7, 0)) + bce(1.1, 0) + bce(0.2, 0)) / 4,
        # Weighted mean with class weights 1 and 0.1.
        "loss_ce_b": (_cross_entropy([0.0, 2.0, 1.0], 1) + 0.1 * _cross_entropy([0.5, 0.0, 1.5], 2))
        / 1.1,
        "loss_bbox": 5 * 0.2,
        "loss_giou": 2 * 0.5,  # nested boxes: GIoU is the IoU
    }
    assert {k: v.item() for k, v in losses.items()} == pytest.approx(expected, rel=1e-5)


def test_exclusive_terms_by_hand():
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]])
    target = ClipTarget(torch.tensor([[0.5, 0.5, 0.2, 0.4]]), torch.tensor([[0.0, 1.0]]))
    actions = torch.tensor([[[0.3, 0.7, -1.0], [1.1, 0.2, 0.4]]])
    visible = torch.tensor([[0.2, 0.9]])
    losses = _criterion(True)([LayerOutput(actions, boxes, visible)], [target])
    first, second = actions[0].tolist()
    action = (_cross_entropy(first, 1) + 0.1 * _cross_entropy(second, 2)) / 1.1
    assert losses["loss_ce"].item() == pytest.approx(12 * action, rel=1e-5)
    assert losses["loss_ce_b"].item() == pytest.approx(_cross_entropy([0.2, 0.9], 1), rel=1e-5)
    assert losses["loss_bbox"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_batch_without_boxes_has_finite_losses(exclusive):
    torch.manual_seed(0)
    actions = torch.randn(2, 3, 5, requires_grad=True)
    person = torch.randn(2, 2) if exclusive else torch.randn(2, 3, 3)
    boxes = torch.rand(2, 3, 4, requires_grad=True)
    empty = ClipTarget(torch.zeros(0, 4), torch.zeros(0, 5 - exclusive))
    losses = _criterion(exclusive)([LayerOutput(actions, boxes, person)], [empty, empty])
    assert losses["loss_bbox"] == 0 and losses["loss_giou"] == 0
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total) and torch.isfinite(actions.grad).all()


def test_layers_are_matched_alone_and_named_by_index():
    torch.manual_seed(0)
    layers = [
        LayerOutput(torch.randn(1, 3, 4), torch.rand(1, 3, 4) * 0.3 + 0.3, torch.randn(1, 3, 3))
        for _ in range(3)
    ]
    target = ClipTarget(torch.tensor([[0.5, 0.5, 0.3, 0.3]]), torch.ones(1, 4))
    losses = _criterion()(layers, [target])
    assert len(losses) == 12
    for index, suffix in enumerate(("_0", "_1", "")):
        alone = _criterion()([layers[index]], [target])
        for name, value in alone.items():
            assert torch.equal(losses[name + suffix], value)


def test_half_precision_outputs_are_lifted_and_double_kept():
    torch.manual_seed(0)
    layer = [torch.randn(1, 3, 4), torch.rand(1, 3, 4), torch.randn(1, 3, 3)]
    target = ClipTarget(torch.tensor([[0.5, 0.5, 0.3, 0.3]]), torch.ones(1, 4))
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        losses = _criterion()([LayerOutput(*(x.to(dtype) for x in layer))], [target])
        assert {v.dtype for v in losses.values()} == {expected}


def test_terms_matches_and_gradients_equal_the_published_tuber():
    case = ReferenceCase(BLOCKS / "detr_matcher_like")
    inputs = {
        name: case.tensor(f"in/{name}").requires_grad_()
        for name in ("pred_logits", "pred_boxes", "pred_logits_b")
    }
    layers = [LayerOutput(*layer) for layer in zip(*inputs.values())]
    targets = [
        ClipTarget(
            case.tensor(f"in/target{b}/boxes_cxcywh"),
            case.tensor(f"in/target{b}/labels"),
        )
        for b in range(3)
    ]
    criterion = _criterion()
    for stage, layer in enumerate(layers):
        cost = criterion.cost(layer, targets)
        for b, part in enumerate(cost.split([len(t.boxes) for t in targets], dim=-1)):
            assert_close(part[b], case.outputs[f"out/cost/stage{stage}/clip{b}"], 1e-5)
        for b, pair in enumerate(criterion.match(layer, targets)):
            expected = case.outputs[f"out/match/stage{stage}/clip{b}"].tolist()
            assert [indices.tolist() for indices in pair] == expected
    losses = criterion(layers, targets)
    assert len(losses) == 12
    for name, value in losses.items():
        expected = WEIGHTS[name.rstrip("_012")] * case.outputs[f"out/loss/{name}"].item()
        assert value.item() == pytest.approx(expected, rel=1e-5), name
    sum(losses.values()).backward()
    for name, key in (
        ("pred_logits", "logits"),
        ("pred_boxes", "boxes"),
        ("pred_logits_b", "logits_b"),
    ):
        assert_close(inputs[name].grad, case.outputs[f"out/grad_{key}"], 1e-6)


def test_focal_terms_by_hand():
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]])
    target = ClipTarget(torch.tensor([[0.5, 0.5, 0.2, 0.4]]), torch.tensor([[1.0, 1.0, 0.0]]))
    logits = torch.tensor([[[0.3, -0.7, 0.4], [1.1, 0.2, -2.0]]])
    criterion = _criterion(action_loss="focal", focal_alpha=0.3, focal_gamma=1.5)
    losses = criterion([LayerOutput(logits, boxes)], [target])

    def focal(logit, y):
        p = 1 / (1 + math.exp(-logit if y else logit))  # of the right answer
        return -(0.3 if y else 0.7) * (1 - p) ** 1.5 * math.log(p)

    expected = focal(0.3, 1) + focal(-0.7, 1) + focal(0.4, 0)
    expected += focal(1.1, 0) + focal(0.2, 0) + focal(-2.0, 0)
    assert set(losses) == {"loss_ce", "loss_bbox", "loss_giou"}
    assert losses["loss_ce"].item() == pytest.approx(12 * expected, rel=1e-5)


def test_without_a_person_decision_queries_are_matched_by_the_actions_of_each_box():
    """Two queries at the same place, two boxes at the same place, other actions."""
    boxes = torch.tensor([0.5, 0.5, 0.2, 0.4]).expand(1, 2, 4)
    logits = torch.tensor([[[3.0, 3.0, -3.0], [-3.0, 3.0, 3.0]]])
    actions = torch.tensor([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    for target_actions, columns in ((actions, [1, 0]), (actions.flip(0), [0, 1])):
        target = ClipTarget(boxes[0], target_actions)
        ((_, found),) = _criterion(action_loss="focal").match(LayerOutput(logits, boxes), [target])
        assert found.tolist() == columns


def test_boxes_of_annotated_frames_are_supervised():
    generator = torch.Generator().manual_seed(0)
    frame_boxes = (torch.rand(2, 4, 1, 4, generator=generator) * 0.3 + 0.3).requires_grad_()
    layer = LayerOutput(torch.zeros(2, 1, 3), frame_boxes[:, 2], frame_boxes=frame_boxes)
    truth = torch.rand(1, 4, 4, generator=generator) * 0.3 + 0.3
    valid = torch.tensor([[True, False, True, False]])
    tube = ClipTarget(truth[:, 2], torch.ones(1, 3), truth, valid)
    key_frame = ClipTarget(truth[:, 2], torch.ones(1, 3))
    losses = _criterion(action_loss="focal")([layer], [tube, key_frame])
    distance = (frame_boxes[:, :, 0] - truth).abs().sum(-1)
    expected = 5 * (distance[0, [0, 2]].mean() + distance[1, 2]) / 2
    assert losses["loss_bbox"].item() == pytest.approx(expected.item(), rel=1e-5)
    (losses["loss_bbox"] + losses["loss_giou"]).backward()
    moved = frame_boxes.grad[:, :, 0].abs().sum(-1) > 0
    assert moved.tolist() == [[True, False, True, False], [False, False, True, False]]


@pytest.mark.parametrize("exclusive", [False, True])
def test_proposals_learn_to_find_persons(exclusive):
    torch.manual_seed(0)
    proposals = LayerOutput(
        torch.randn(1, 6, 1, requires_grad=True), torch.rand(1, 6, 4) * 0.3 + 0.3, is_proposal=True
    )
    last = LayerOutput(torch.randn(1, 3, 4 + exclusive), torch.rand(1, 3, 4) * 0.3 + 0.3)
    target = ClipTarget(torch.rand(2, 4) * 0.3 + 0.3, torch.eye(4)[:2])
    criterion = _criterion(exclusive, action_loss="focal")
    losses = criterion([proposals, last], [target])
    terms = ("loss_ce", "loss_bbox", "loss_giou")
    assert set(losses) == {*terms, *(f"{term}_enc" for term in terms)}
    losses["loss_ce_enc"].backward()
    ((rows, _),) = criterion.match(proposals, [target])
    pushed_up = (proposals.action_logits.grad[0, :, 0] < 0).nonzero()[:, 0]
    assert pushed_up.tolist() == rows.tolist() and len(rows) == 2


@pytest.mark.parametrize("kind", ["actions", "exclusive", "persons", "proposals", "frames"])
def test_costs_and_losses_under_autocast_are_those_in_full_precision(kind, monkeypatch):
    torch.manual_seed(0)
    logits, boxes = torch.randn(2, 5, 4).bfloat16(), torch.rand(2, 5, 4) * 0.3 + 0.3
    half = LayerOutput(logits, boxes.bfloat16() if kind == "frames" else boxes)
    targets = [ClipTarget(torch.rand(2, 4) * 0.3 + 0.3, torch.eye(4)[[0, 2]]) for _ in range(2)]
    if kind == "persons":
        half.person_logits = torch.randn(2, 5, 3).bfloat16()
    elif kind == "proposals":
        half.action_logits, half.is_proposal = logits[..., :1], True
    elif kind == "frames":
        half.frame_boxes = (torch.rand(2, 4, 5, 4) * 0.3 + 0.3).bfloat16()
        truth, valid = torch.rand(2, 4, 4) * 0.3 + 0.3, torch.ones(2, 4, dtype=torch.bool)
        targets[0].frame_boxes, targets[0].frame_valid = truth, valid
    criterion = _criterion(kind == "exclusive", action_loss="focal")
    costs, matching_cost = [], HungarianMatcher.cost
    monkeypatch.setattr(
        HungarianMatcher, "cost", lambda *args: costs.append(matching_cost(*args)) or costs[-1]
    )
    # As a layer of another precision, whose numbers are the same.
    full = LayerOutput(**{k: v.float() if torch.is_tensor(v) else v for k, v in vars(half).items()})
    expected = criterion([full], targets)
    pairs = criterion.match(full, targets)
    with torch.autocast("cpu", torch.bfloat16):
        losses = criterion([half], targets)
        pairs_of_half = criterion.match(half, targets)
    assert {cost.dtype for cost in costs} == {torch.float32} and len(costs) == 4
    assert all(torch.equal(cost, costs[0]) for cost in costs)
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        assert loss.dtype == torch.float32 and torch.equal(loss, expected[name])
    assert [[x.tolist() for x in pair] for pair in pairs_of_half] == [
        [x.tolist() for x in pair] for pair in pairs
    ]


def test_an_unknown_action_loss_is_named():
    with pytest.raises(ValueError, match="ACTION_LOSS is 'mse'"):
        _criterion(action_loss="mse")


def test_layers_of_other_shapes_keep_their_order_and_losses():
    torch.manual_seed(0)
    layers = [
        LayerOutput(torch.randn(2, q, 4), torch.rand(2, q, 4) * 0.3 + 0.3, torch.randn(2, q, 3))
        for q in (3, 3, 5, 3)
    ]
    targets = [ClipTarget(torch.rand(n, 4) * 0.3 + 0.3, torch.eye(4)[:n]) for n in (2, 4)]
    losses = _criterion()(layers, targets)
    terms = ("loss_ce", "loss_ce_b", "loss_bbox", "loss_giou")
    assert list(losses) == [term + suffix for suffix in ("_0", "_1", "_2", "") for term in terms]
    for index, suffix in enumerate(("_0", "_1", "_2", "")):
        for name, value in _criterion()([layers[index]], targets).items():
            assert losses[name + suffix].item() == pytest.approx(value.item(), rel=1e-6)


def test_boxes_are_averaged_over_the_processes(monkeypatch):
    """The count of all processes stays on the device."""
    targets = [ClipTarget(torch.zeros(n, 4), torch.zeros(n, 2)) for n in (2, 1)]
    device = torch.device("cpu")
    assert average_num_boxes(targets, device) == 3
    assert average_num_boxes([ClipTarget(torch.zeros(0, 4), torch.zeros(0, 2))], device) == 1
    monkeypatch.setattr(comm, "get_world_size", lambda: 4)
    for others, expected in ((7, 2.5), (-3, 1.0)):
        monkeypatch.setattr(
            torch.distributed, "all_reduce", partial(torch.Tensor.add_, other=others)
        )
        found = average_num_boxes(targets, device)
        assert torch.is_tensor(found) and found.item() == expected
