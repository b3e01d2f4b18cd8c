import pytest
import torch

from tubedet.modeling import LayerOutput, detections_from_queries

BOXES = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.05, 0.5, 0.2, 0.2]]])


def test_independent_actions_carry_the_person_probability():
    actions = torch.tensor([[[0.0, 2.0], [0.0, 2.0]]])
    person = torch.tensor([[[0.0, 3.0, 0.0], [0.0, 0.0, 3.0]]])
    (result,) = detections_from_queries(
        LayerOutput(actions, BOXES, person), [(100, 200)], exclusive=False, person_thresh=0.8
    )
    prob = person[0].softmax(-1)[:, 1]
    torch.testing.assert_close(result.scores, prob)
    torch.testing.assert_close(result.action_scores[0], actions[0, 0].sigmoid() * prob[0])
    assert (result.action_scores[1] == 0).all()
    # Boxes that leave the frame are not clipped.
    expected = torch.tensor([[80.0, 30, 120, 70], [-10, 40, 30, 60]])
    torch.testing.assert_close(result.pred_boxes.tensor, expected)
    assert result.image_size == (100, 200)


def test_exclusive_actions_leave_out_no_object():
    actions = torch.tensor([[[1.0, 2.0, 0.5], [0.0, 0.0, 4.0]]])
    (result,) = detections_from_queries(
        LayerOutput(actions, BOXES, torch.zeros(1, 2)),
        [(10, 10)],
        exclusive=True,
        person_thresh=0.0,
    )
    torch.testing.assert_close(result.action_scores, actions[0].softmax(-1)[:, :2])
    torch.testing.assert_close(result.scores, 1 - actions[0].softmax(-1)[:, 2])


def test_without_a_person_decision_a_person_is_as_probable_as_its_best_action():
    actions = torch.tensor([[[1.0, 2.0], [-1.0, -3.0]]])
    (result,) = detections_from_queries(
        LayerOutput(actions, BOXES), [(10, 10)], exclusive=False, person_thresh=0.5
    )
    torch.testing.assert_close(result.scores, torch.tensor([2.0, -1.0]).sigmoid())
    torch.testing.assert_close(result.action_scores[0], actions[0, 0].sigmoid())
    assert (result.action_scores[1] == 0).all()


def test_persons_alone_are_their_own_action():
    person = torch.tensor([[[0.0, 3.0, 0.0], [0.0, 0.0, 3.0]]])
    (result,) = detections_from_queries(
        LayerOutput(None, BOXES, person), [(10, 10)], exclusive=False, person_thresh=0.5
    )
    prob = person[0].softmax(-1)[:, 1]
    torch.testing.assert_close(result.scores, prob)
    assert result.action_scores.tolist() == [[prob[0].item()], [0.0]]


def test_scores_may_be_those_of_the_actions_alone():
    actions, person = torch.tensor([[[0.0, 2.0], [1.0, -2.0]]]), torch.zeros(1, 2, 3)
    (result,) = detections_from_queries(
        LayerOutput(actions, BOXES, person),
        [(10, 10)],
        exclusive=False,
        person_thresh=0.0,
        score_times_person=False,
    )
    torch.testing.assert_close(result.action_scores, actions[0].sigmoid())
    torch.testing.assert_close(result.scores, torch.full((2,), 1 / 3))


def test_of_tubes_the_key_frame_is_reported():
    boxes = BOXES[:, None].repeat(1, 5, 1, 1)
    boxes[:, 2, :, 0] += 0.1
    actions = torch.arange(5.0).view(1, 5, 1, 1).expand(1, 5, 2, 3)
    (result,) = detections_from_queries(
        LayerOutput(actions, boxes, torch.zeros(1, 5, 2, 3)),
        [(100, 100)],
        exclusive=False,
        person_thresh=0.0,
    )
    expected = torch.tensor([[50.0, 30, 70, 70], [5, 40, 25, 60]])
    torch.testing.assert_close(result.pred_boxes.tensor, expected)
    score = torch.tensor(2.0).sigmoid() / 3
    torch.testing.assert_close(result.action_scores, score.expand(2, 3))


def test_two_person_logits_begin_with_the_person():
    person = torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])
    (result,) = detections_from_queries(
        LayerOutput(None, BOXES, person), [(10, 10)], exclusive=False, person_thresh=0.5
    )
    torch.testing.assert_close(result.scores, torch.tensor([3.0, -1.0]).sigmoid())
    assert result.action_scores[1].item() == 0


@pytest.mark.parametrize("number, kept", [(0, []), (1, [2]), (2, [0, 2]), (9, [0, 1, 2])])
def test_the_best_queries_stand_in_where_none_is_above_the_threshold(number, kept):
    # The second clip has a query above the threshold, which is then the only one.
    scores = torch.tensor([[0.4, 0.1, 0.5], [0.2, 0.7, 0.5]])
    person = torch.stack((scores.logit(), torch.zeros(2, 3)), dim=-1)
    actions = torch.zeros(2, 3, 2)
    first, second = detections_from_queries(
        LayerOutput(actions, torch.rand(2, 3, 4), person),
        [(10, 10)] * 2,
        exclusive=False,
        person_thresh=0.6,
        score_times_person=False,
        fallback_topk=number,
    )
    assert first.action_scores.any(-1).nonzero()[:, 0].tolist() == kept
    assert second.action_scores.tolist() == [[0, 0], [0.5, 0.5], [0, 0]]
    assert len(first) == 3
    torch.testing.assert_close(first.scores, scores[0])
