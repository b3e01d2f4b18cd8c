import pytest
import torch
from detectron2.structures import Boxes, Instances

from tubedet.inference.tracking import interpolate_persons


def persons(ids, offset):
    ids = torch.tensor(ids, dtype=torch.int64)
    boxes = torch.stack([ids, ids, ids + 20, ids + 40], dim=1) + float(offset)
    return Instances(
        (100, 200),
        pred_boxes=Boxes(boxes),
        scores=torch.full((len(ids),), 0.5 + offset / 100),
        action_scores=torch.stack([ids / 100, ids / 100 + offset / 100], dim=1),
        person_ids=ids,
    )


def test_who_is_in_both_moves_linearly_and_comes_in_the_order_of_ids():
    found = interpolate_persons(persons([7, 2], 0), persons([2, 7], 8), 0.25)
    assert found.person_ids.tolist() == [2, 7]
    assert found.pred_boxes.tensor.tolist() == [[4, 4, 24, 44], [9, 9, 29, 49]]
    assert found.scores.tolist() == pytest.approx([0.52, 0.52])
    assert found.action_scores[1].tolist() == pytest.approx([0.07, 0.09])


@pytest.mark.parametrize(
    "fraction, ids", [(0.0, [1, 2]), (0.49, [1, 2]), (0.5, [2, 3]), (1.0, [2, 3])]
)
def test_who_is_in_one_only_stands_still_for_half_the_time(fraction, ids):
    found = interpolate_persons(persons([1, 2], 0), persons([3, 2], 10), fraction)
    assert found.person_ids.tolist() == ids
    lone, offset = (0, 0) if fraction < 0.5 else (1, 10)
    corner = ids[lone] + offset
    assert found.pred_boxes.tensor[lone].tolist() == [corner, corner, corner + 20, corner + 40]


def test_without_a_later_key_frame_the_earlier_one_holds():
    found = interpolate_persons(persons([5, 4], 3), None, 0.9)
    assert found.person_ids.tolist() == [4, 5]
    assert found.pred_boxes.tensor[0].tolist() == [7, 7, 27, 47]


def test_nobody():
    assert len(interpolate_persons(persons([], 0), persons([], 0), 0.5)) == 0
    assert interpolate_persons(persons([], 0), persons([3], 0), 0.5).person_ids.tolist() == [3]


def test_a_fraction_outside_is_refused():
    with pytest.raises(ValueError, match="fraction"):
        interpolate_persons(persons([1], 0), None, 1.5)


def test_attention_moves_with_the_person():
    before, after = persons([7, 2], 0), persons([2, 8], 8)
    before.action_attention = torch.tensor([3.0, 0.0]).view(2, 1, 1, 1).expand(-1, 1, 2, 3)
    after.action_attention = torch.tensor([4.0, 5.0]).view(2, 1, 1, 1).expand(-1, 1, 2, 3)
    found = interpolate_persons(before, after, 0.25)
    assert found.person_ids.tolist() == [2, 7]
    assert found.action_attention[:, 0, 1, 2].tolist() == [1.0, 3.0]
    found = interpolate_persons(before, after, 0.75)
    assert found.action_attention[:, 0, 0, 0].tolist() == [3.0, 5.0]
