import math

import pytest
import torch

from tubedet.modeling import ClipTarget, HungarianMatcher, LayerOutput, SetCriterion

WEIGHTS = {"loss_ce": 12.0, "loss_ce_b": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}


def _criterion(exclusive=False):
    return SetCriterion(
        matcher=HungarianMatcher(cost_class=12, cost_bbox=5, cost_giou=2),
        exclusive=exclusive,
        weights=WEIGHTS,
        no_object_weight=0.1,
        matched_action_weight=10.0,
    )


def _cross_entropy(logits, target):
    return math.log(sum(math.exp(x) for x in logits)) - logits[target]


def test_multi_label_terms_by_hand():
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]])
    target = ClipTarget(torch.tensor([[0.5, 0.5, 0.4, 0.4]]), torch.tensor([[1.0, 0.0]]))
    person = torch.tensor([[[0.0, 2.0, 1.0], [0.5, 0.0, 1.5]]])
    actions = torch.tensor([[[0.3, -0.7], [1.1, 0.2]]])
    losses = _criterion()([LayerOutput(actions, person, boxes)], [target])

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
    losses = _criterion(True)([LayerOutput(actions, visible, boxes)], [target])
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
    losses = _criterion(exclusive)([LayerOutput(actions, person, boxes)], [empty, empty])
    assert losses["loss_bbox"] == 0 and losses["loss_giou"] == 0
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total) and torch.isfinite(actions.grad).all()


def test_layers_are_matched_alone_and_named_by_index():
    torch.manual_seed(0)
    layers = [
        LayerOutput(torch.randn(1, 3, 4), torch.randn(1, 3, 3), torch.rand(1, 3, 4) * 0.3 + 0.3)
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
    layer = [torch.randn(1, 3, 4), torch.randn(1, 3, 3), torch.rand(1, 3, 4)]
    target = ClipTarget(torch.tensor([[0.5, 0.5, 0.3, 0.3]]), torch.ones(1, 4))
    for dtype, expected in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        losses = _criterion()([LayerOutput(*(x.to(dtype) for x in layer))], [target])
        assert {v.dtype for v in losses.values()} == {expected}
