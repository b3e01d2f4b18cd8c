"""Clips of noise."""

import torch
from benchmarking.random_clips import random_batch


def test_batch_is_what_models_take_and_the_same_again():
    batch = random_batch(2, (4, 30, 40), num_actions=5, seed=1)
    again = random_batch(2, (4, 30, 40), num_actions=5, seed=1)
    other = random_batch(2, (4, 30, 40), num_actions=5, seed=2)
    for one, same, different in zip(batch, again, other):
        assert one["clip"].shape == (3, 4, 30, 40) and one["clip"].dtype == torch.uint8
        assert torch.equal(one["clip"], same["clip"])
        assert not torch.equal(one["clip"], different["clip"])
        boxes = one["instances"].gt_boxes.tensor
        assert (boxes[:, 2:] - boxes[:, :2] >= 0.19 * torch.tensor([40, 30])).all()
        assert (boxes >= 0).all() and (boxes <= torch.tensor([40, 30, 40, 30])).all()
        actions = one["instances"].gt_actions
        assert actions.shape == (3, 5) and actions.unique().tolist() == [0, 1]
    assert not torch.equal(batch[0]["clip"], batch[1]["clip"])


def test_exclusive_actions():
    (one,) = random_batch(1, (2, 8, 8), num_actions=5, exclusive=True)
    assert one["instances"].gt_actions.sum(1).tolist() == [1, 1, 1]


def test_boxes_of_the_persons_are_given():
    (one,) = random_batch(1, (2, 30, 40), num_actions=5, num_persons=7)
    proposals = one["proposals"]
    assert len(proposals) == len(one["instances"]) == 7
    assert torch.equal(proposals.proposal_boxes.tensor, one["instances"].gt_boxes.tensor)
    assert proposals.scores.tolist() == [1] * 7
