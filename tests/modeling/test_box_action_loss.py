"""The loss of given boxes, by hand."""

import math

import pytest
import torch

from tubedet.modeling.box_action_loss import box_action_loss

# softplus(0) = log 2; of logits ±2 where they are right or wrong:
RIGHT, WRONG = math.log1p(math.exp(-2)), math.log1p(math.exp(2))
LOGITS = torch.tensor([[2.0, -2.0, -2.0, -2.0], [2.0, 2.0, -2.0, -2.0]])
ACTIONS = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]])


@pytest.mark.parametrize("reduction, factor", [("sum", 1.0), ("mean", 0.5)])
def test_boxes_are_summed_and_classes_averaged(reduction, factor):
    found = box_action_loss(LOGITS, ACTIONS, exclusive=False, reduction=reduction)
    assert found.item() == pytest.approx(factor * (RIGHT + (3 * RIGHT + WRONG) / 4), rel=1e-6)


def test_focal_loss_by_hand():
    found = box_action_loss(
        torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), exclusive=False, kind="focal"
    )
    assert found.item() == pytest.approx((0.25 + 0.75) * 0.25 * math.log(2) / 2, rel=1e-6)


@pytest.mark.parametrize("reduction, factor", [("sum", 1.0), ("mean", 0.5)])
def test_exclusive_actions_compete_and_negatives_do_not_count(reduction, factor):
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0], [5.0, 0.0]])
    actions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    found = box_action_loss(logits, actions, exclusive=True, reduction=reduction)
    assert found.item() == pytest.approx(factor * (math.log(4 / 3) + math.log(2)), rel=1e-6)


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("kind", ["bce", "focal"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_no_box_is_a_zero_with_a_gradient(exclusive, kind, reduction):
    logits = torch.zeros(0, 4, requires_grad=True)
    loss = box_action_loss(
        logits, torch.zeros(0, 4), exclusive=exclusive, kind=kind, reduction=reduction
    )
    loss.backward()
    assert loss.item() == 0 and logits.grad.shape == (0, 4)


def test_half_precision_is_summed_in_full():
    with torch.autocast("cpu", torch.bfloat16):
        found = box_action_loss(LOGITS.bfloat16(), ACTIONS, exclusive=False)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(RIGHT + (3 * RIGHT + WRONG) / 4, rel=1e-6)
