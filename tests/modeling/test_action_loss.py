import math

import pytest
import torch

from tubedet.modeling.action_loss import ActionLoss, logits_of_scores

# Two layers alike, one clip, two queries, the second one matched; two actions.
LOGITS = torch.tensor([[[[0.3, -0.7], [1.1, 0.2]]]] * 2, dtype=torch.float64)
TARGET = torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]] * 2, dtype=torch.float64)
ROWS = torch.tensor([1, 3])


def _bce(logit, y):
    return math.log1p(math.exp(logit)) - logit * y


def _focal(logit, y, alpha=0.25, gamma=2.0):
    p = 1 / (1 + math.exp(-logit))
    right = p * y + (1 - p) * (1 - y)
    return (alpha * y + (1 - alpha) * (1 - y)) * (1 - right) ** gamma * _bce(logit, y)


def test_query_focal_is_a_mean_over_actions_and_a_sum_over_queries():
    loss = ActionLoss("query_focal", matched_weight=10, label_smoothing=0.1)
    found = loss(LOGITS, TARGET, ROWS, num_boxes=7.0)
    unmatched = (_focal(0.3, 0.05) + _focal(-0.7, 0.05)) / 2
    matched = (_focal(1.1, 0.05) + _focal(0.2, 0.95)) / 2
    assert found.tolist() == pytest.approx([unmatched + 10 * matched] * 2)


def test_frames_are_summed_or_averaged():
    logits, target = LOGITS[:1].expand(1, 3, 2, 2), TARGET[:1].expand(1, 3, 2, 2)
    rows = torch.tensor([1, 3, 5])
    one = ActionLoss("query_focal")(LOGITS[:1], TARGET[:1], ROWS[:1], 1.0).item()
    for frame_mean, expected in ((False, 3 * one), (True, one)):
        loss = ActionLoss("query_focal", frame_mean=frame_mean)
        assert loss(logits, target, rows, 1.0).item() == pytest.approx(expected)


def test_smoothing_serves_the_cross_entropy_too():
    found = ActionLoss("bce", matched_weight=3, label_smoothing=0.2)(LOGITS, TARGET, ROWS, 1.0)
    matched = _bce(1.1, 0.1) + _bce(0.2, 0.9)
    expected = (_bce(0.3, 0.1) + _bce(-0.7, 0.1) + 3 * matched) / 4
    assert found.tolist() == pytest.approx([expected] * 2)


def test_matched_bce_is_a_mean_over_the_queries_with_a_box():
    logits = LOGITS.clone().requires_grad_()
    found = ActionLoss("matched_bce", matched_weight=10)(logits, TARGET, ROWS, num_boxes=7.0)
    assert found.tolist() == pytest.approx([(_bce(1.1, 0) + _bce(0.2, 1)) / 2] * 2)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert not gradient[:, :, 0].any() and gradient[:, :, 1].all()


def test_matched_bce_of_no_box_is_zero_and_has_a_gradient():
    logits = LOGITS.clone().requires_grad_()
    nothing = torch.zeros(0, dtype=torch.long)
    found = ActionLoss("matched_bce")(logits, 0 * TARGET, nothing, num_boxes=1.0)
    assert found.tolist() == [0, 0]
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    assert not gradient.any()


def test_focal_is_divided_by_the_boxes_and_knows_no_factor():
    found = ActionLoss("focal", matched_weight=10, focal_alpha=0.3, focal_gamma=1.5)(
        LOGITS, TARGET, ROWS, num_boxes=4.0
    )
    terms = ((0.3, 0), (-0.7, 0), (1.1, 0), (0.2, 1))
    expected = sum(_focal(x, y, 0.3, 1.5) for x, y in terms) / 4
    assert found.tolist() == pytest.approx([expected] * 2)


def test_scores_have_the_logits_of_their_product():
    logits = torch.tensor([[0.4, -1.0]], dtype=torch.float64, requires_grad=True)
    person = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    found = logits_of_scores(logits, person)
    torch.testing.assert_close(found.sigmoid(), logits.sigmoid() * 0.3)
    found.sum().backward()
    assert person.grad.item() > 0 and (logits.grad > 0).all()
    # Beyond 1e-5 the scores are cut.
    edge = logits_of_scores(torch.tensor([[-40.0, 40.0]]), torch.tensor([1.0]))
    limit = math.log(1e5 - 1)
    assert edge.flatten().tolist() == pytest.approx([-limit, limit], rel=1e-3)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_a_smoothing_that_is_no_share_is_named(smoothing):
    with pytest.raises(ValueError, match=rf"LABEL_SMOOTHING is {smoothing}; choose a number"):
        ActionLoss(label_smoothing=smoothing)
