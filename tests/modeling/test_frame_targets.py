import pytest
import torch

from tubedet.modeling import ClipTarget, HungarianMatcher, LayerOutput, SetCriterion
from tubedet.modeling.frame_targets import split_into_frames

NUM_FRAMES, NUM_QUERIES = 4, 3


def _layer(num_clips=1):
    generator = torch.Generator().manual_seed(0)
    shape = (num_clips, NUM_FRAMES, NUM_QUERIES)
    return LayerOutput(
        torch.randn(*shape, 5, generator=generator),
        torch.rand(*shape, 4, generator=generator) * 0.3 + 0.3,
        torch.randn(*shape, 3, generator=generator),
    )


def _target(valid, annotated=None, first_action=0):
    """Persons with boxes in some frames; the box of person n in frame f is n / 10 + f / 100."""
    valid = torch.tensor(valid)
    place = torch.arange(len(valid))[:, None] / 10 + torch.arange(NUM_FRAMES) / 100 + 0.3
    boxes = place[..., None].expand(-1, -1, 4)
    actions = torch.eye(5)[first_action : first_action + len(valid)]
    return ClipTarget(boxes[:, NUM_FRAMES // 2], actions, boxes, valid, annotated)


def test_every_frame_is_a_clip_with_the_persons_seen_there():
    target = _target([[True, True, False, False], [False, True, True, False]])
    (layer,), targets = split_into_frames([_layer()], [target])
    assert layer.boxes.shape == (NUM_FRAMES, NUM_QUERIES, 4) and not layer.is_tube
    assert torch.equal(layer.action_logits, _layer().action_logits[0])
    assert [t.actions.nonzero()[:, 1].tolist() for t in targets] == [[0], [0, 1], [1], []]
    torch.testing.assert_close(targets[1].boxes[:, 0], torch.tensor([0.31, 0.41]))


def test_frames_that_nobody_annotated_are_left_out():
    targets = [
        _target([[True] * 4], annotated=[False, True, True, False]),
        _target([[True] * 4]),
        ClipTarget(torch.rand(2, 4), torch.eye(5)[:2]),  # the key frame alone
    ]
    whole = _layer(3)
    (layer,), frames = split_into_frames([whole], targets)
    assert [len(frame.boxes) for frame in frames] == [1] * 6 + [2]
    expected = torch.cat((whole.boxes[0, 1:3], whole.boxes[1], whole.boxes[2, 2:3]))
    assert torch.equal(layer.boxes, expected)
    person = torch.cat(
        (whole.person_logits[0, 1:3], whole.person_logits[1], whole.person_logits[2, 2:3])
    )
    assert torch.equal(layer.person_logits, person)


def test_persons_of_other_frames_are_learned_where_they_are_seen():
    target = _target([[False, True, True, False]])
    target.others = _target([[True, False, False, True]], first_action=3)
    _, targets = split_into_frames([_layer()], [target])
    assert [t.actions.nonzero()[:, 1].tolist() for t in targets] == [[3], [0], [0], [3]]


def test_losses_of_a_tube_are_those_of_its_frames():
    """Numbers by hand: the losses of the frames one by one, weighted by their boxes."""
    criterion = SetCriterion(
        matcher=HungarianMatcher(cost_class=4, cost_bbox=5, cost_giou=2),
        exclusive=False,
        weights={"loss_ce": 1.0, "loss_ce_b": 1.0, "loss_bbox": 1.0, "loss_giou": 1.0},
        action_loss="query_focal",
        action_frame_mean=True,
        action_loss_of_scores=True,
    )
    annotated = [True, True, True, False]
    target = _target([[True, True, True, True], [True, False, True, True]], annotated)
    layer = _layer()
    losses = criterion([layer], [target])
    frames = [
        criterion(
            [layer.in_frame(f)], [ClipTarget(target.frame_boxes[seen, f], target.actions[seen])]
        )
        for f, seen in ((0, [0, 1]), (1, [0]), (2, [0, 1]))
    ]
    for name, counts in (("loss_bbox", (2, 1, 2)), ("loss_giou", (2, 1, 2)), ("loss_ce", (1,) * 3)):
        expected = sum(n * frame[name] for n, frame in zip(counts, frames)) / sum(counts)
        torch.testing.assert_close(losses[name], expected)
    moved = layer.boxes.requires_grad_()
    criterion([layer], [target])["loss_bbox"].backward()
    by_frame = (moved.grad[0].abs().sum(-1) > 0).sum(1)
    assert by_frame.tolist() == [2, 1, 2, 0]


def test_a_tube_without_persons_has_finite_losses():
    layer = _layer()
    layer.action_logits.requires_grad_()
    target = ClipTarget(
        torch.zeros(0, 4), torch.zeros(0, 5), torch.zeros(0, 4, 4), torch.zeros(0, 4).bool()
    )
    criterion = SetCriterion(
        matcher=HungarianMatcher(cost_class=4, cost_bbox=5, cost_giou=2),
        exclusive=False,
        weights={"loss_ce": 1.0, "loss_ce_b": 1.0, "loss_bbox": 1.0, "loss_giou": 1.0},
        action_loss="query_focal",
    )
    losses = criterion([layer], [target])
    assert losses["loss_bbox"] == losses["loss_giou"] == 0
    sum(losses.values()).backward()
    assert torch.isfinite(layer.action_logits.grad).all() and layer.action_logits.grad.any()
    assert losses["loss_ce_b"].item() == pytest.approx(
        torch.nn.functional.cross_entropy(
            layer.person_logits.flatten(0, 2), torch.full((12,), 2)
        ).item()
    )
