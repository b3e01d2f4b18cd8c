import pytest
import torch
from torch import nn

from tubedet.modeling.heads import BoxHead
from tubedet.modeling.transformer import EncoderProposals, LevelTokens

DIM = 32


def _levels(sizes=((6, 8), (3, 4)), padded_columns=0):
    torch.manual_seed(0)
    maps = [torch.randn(2, DIM, *size) for size in sizes]
    masks = [torch.zeros(2, *size, dtype=torch.bool) for size in sizes]
    for mask in masks:
        if padded_columns:
            mask[1, :, -mask.shape[2] * padded_columns // 8 :] = True
    return LevelTokens.from_maps(maps, maps, masks, torch.zeros(len(sizes), DIM))


def _proposals(num_queries=5):
    torch.manual_seed(0)
    proposals = EncoderProposals(DIM, num_queries)
    return proposals, nn.Linear(DIM, 1), BoxHead(DIM)


def test_the_most_probable_cells_become_queries():
    levels = _levels()
    proposals, person_head, box_head = _proposals()
    found = proposals(levels.tokens, levels, person_head, box_head)
    assert found.logits.shape == (2, 60, 1) and found.boxes.shape == (2, 60, 4)
    assert found.query_pos.shape == found.content.shape == (2, 5, DIM)
    for b in range(2):
        best = found.logits[b, :, 0].argsort(descending=True)[:5]
        torch.testing.assert_close(found.references[b], found.boxes[b, best])
    assert not found.references.requires_grad


def test_a_cell_proposes_a_box_around_itself():
    levels = _levels()
    proposals, person_head, box_head = _proposals()
    box_head.start_at_references()
    boxes = proposals(levels.tokens, levels, person_head, box_head).boxes
    # Row 2, column 3 of the 6x8 map; row 1, column 2 of the 3x4 map, with a box twice as large.
    for cell, box in ((19, [3.5 / 8, 2.5 / 6, 0.05, 0.05]), (54, [2.5 / 4, 1.5 / 3, 0.1, 0.1])):
        torch.testing.assert_close(boxes[0, cell], torch.tensor(box), rtol=0, atol=1e-5)


def test_padded_cells_are_never_chosen():
    """Even where padding holds what the person head likes best."""
    levels = _levels(padded_columns=4)
    proposals, person_head, box_head = _proposals(num_queries=30)
    liked = person_head.weight[0].detach() * 100
    levels.tokens[levels.mask] = liked
    found = proposals(levels.tokens, levels, person_head, box_head)
    chosen = found.logits[1, :, 0].topk(30).indices
    assert not levels.mask[1, chosen].any()
    assert (found.logits[1, levels.mask[1], 0] < -1e3).all()
    # Centres count from the border of the image, not of the padding.
    box_head.start_at_references()
    boxes = proposals(levels.tokens, levels, person_head, box_head).boxes
    torch.testing.assert_close(boxes[1, 0, :2], torch.tensor([0.5 / 4, 0.5 / 6]))


def test_boxes_that_leave_the_valid_range_do_not_count():
    levels = _levels(sizes=((60, 60),))
    proposals, person_head, box_head = _proposals()
    logits = proposals(levels.tokens, levels, person_head, box_head).logits.view(2, 60, 60)
    outside = torch.zeros(60, 60, dtype=torch.bool)
    outside[[0, -1]] = outside[:, [0, -1]] = True  # centres at 1/120 of the image
    assert (logits[:, outside] < -1e3).all() and (logits[:, ~outside] > -1e3).all()


def test_gradients_reach_every_parameter():
    levels = _levels()
    proposals, person_head, box_head = _proposals()
    found = proposals(levels.tokens, levels, person_head, box_head)
    torch.manual_seed(0)
    parts = (found.logits, found.boxes, found.query_pos, found.content)
    sum((part * torch.randn_like(part)).sum() for part in parts).backward()
    for module in (proposals, person_head, box_head):
        assert all(p.grad is not None and p.grad.any() for p in module.parameters())


def test_fewer_cells_than_queries():
    levels = _levels()
    proposals, person_head, box_head = _proposals(num_queries=61)
    with pytest.raises(ValueError, match="NUM_QUERIES is 61.*only 60 cells"):
        proposals(levels.tokens, levels, person_head, box_head)
