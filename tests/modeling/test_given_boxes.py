"""Which of the given boxes count, what they are called, and where a head looks."""

import pytest
import torch

from tubedet.errors import UserError
from tubedet.modeling.given_boxes import GivenBoxes

SIZE = (50, 100)


def _rules(**changes):
    usual = {
        "inclusive_pixels": False,
        "extension": (0.0, 0.0),
        "score_thresh": 0.8,
        "jitter_outward": (0.0, 0.0),
        "jitter_inward": (0.0, 0.0),
        "use_proposals": False,
        "proposal_iou": 0.9,
        "keep_negatives": True,
        "max_boxes": 100,
    }
    return GivenBoxes(**{**usual, **changes})


def _boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def test_detection_keeps_boxes_with_a_score_and_an_area():
    boxes = _boxes([10, 10, 30, 40], [10, 10, 30, 40], [-9, 5, -1, 9], [90, 40, 130, 70])
    scores = torch.tensor([0.79, 0.8, 1.0, 0.9])
    kept, inside, regions = _rules().for_detection(boxes, scores, SIZE, SIZE)
    assert kept.tolist() == [1, 3]
    assert inside.tolist() == [[10, 10, 30, 40], [90, 40, 100, 50]]
    assert torch.equal(regions, inside)


def test_only_the_region_is_extended():
    boxes = _boxes([20, 10, 60, 30])
    rules = _rules(extension=(0.1, 0.05))
    _, inside, regions = rules.for_detection(boxes, torch.ones(1), SIZE, SIZE)
    assert inside.tolist() == [[20, 10, 60, 30]]
    torch.testing.assert_close(regions, _boxes([18, 9.5, 62, 30.5]))


def test_a_box_includes_pixels_of_the_stored_video():
    """The clip is half as large: the last pixel of a box lies half a pixel before its end."""
    rules = _rules(inclusive_pixels=True, extension=(0.1, 0.1))
    boxes = _boxes([20, 10, 59.5, 29.5], [0, 0, 100, 50], [20, 10, 20.5, 30])
    kept, inside, regions = rules.for_detection(boxes, torch.ones(3), SIZE, (100, 200))
    # The last one is a single pixel wide, which the published code takes for empty.
    assert kept.tolist() == [0, 1]
    assert inside.tolist() == boxes[:2].tolist()
    # (59 - 20 + 1) * 0.05 = 2 on both sides, and the clip ends at W - 1.
    torch.testing.assert_close(regions, _boxes([18, 9, 61, 30], [0, 0, 99, 49]))


def test_no_box_leaves_empty_tensors():
    kept, inside, regions = _rules().for_detection(_boxes(), torch.ones(0), SIZE, SIZE)
    assert kept.shape == (0,) and inside.shape == regions.shape == (0, 4)
    regions, actions = _rules(jitter_outward=(0.2, 0.1)).for_training(
        _boxes(), torch.zeros(0, 3), _boxes(), torch.zeros(0), SIZE
    )
    assert regions.shape == (0, 4) and actions.shape == (0, 3)


def test_training_takes_the_annotated_boxes_alone():
    given = _boxes([10, 10, 30, 40]), torch.ones(1)
    boxes, actions = _boxes([20, 10, 60, 30]), torch.tensor([[1.0, 0.0]])
    regions, labels = _rules().for_training(boxes, actions, *given, SIZE)
    assert torch.equal(regions, boxes) and torch.equal(labels, actions)


def test_given_boxes_get_the_actions_of_the_box_that_they_cover():
    boxes = _boxes([0, 0, 10, 10], [20, 20, 40, 40])
    actions = torch.tensor([[1.0, 0, 0], [0, 1.0, 1.0]])
    given = _boxes([20, 20, 40, 38], [0, 0, 10, 8], [20, 20, 40, 40], [50, 0, 60, 10])
    scores = torch.tensor([0.9, 0.9, 0.5, 0.9])
    rules = _rules(use_proposals=True)
    regions, labels = rules.for_training(boxes, actions, given, scores, SIZE)
    # IoU 0.9 is enough, 0.8 is not; the third has too small a score, the fourth covers nobody.
    assert regions.tolist() == torch.cat((boxes, given[[0, 1, 3]])).tolist()
    assert labels.tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 1], [0, 0, 0], [0, 0, 0]]
    rules = _rules(use_proposals=True, keep_negatives=False)
    regions, labels = rules.for_training(boxes, actions, given, scores, SIZE)
    assert len(regions) == 3 and labels.sum(1).tolist() == [1, 2, 2]
    regions, labels = rules.for_training(_boxes(), torch.zeros(0, 3), given, scores, SIZE)
    assert len(regions) == len(labels) == 0


def test_a_random_choice_of_many_boxes_trains():
    torch.manual_seed(0)
    corners = torch.rand(50, 2) * 20
    boxes = torch.cat((corners, corners + 10), 1)
    actions = torch.arange(50.0)[:, None]
    rules = _rules(max_boxes=7)
    regions, chosen = rules.for_training(boxes, actions, _boxes(), torch.zeros(0), SIZE)
    assert len(set(chosen[:, 0].tolist())) == 7
    assert torch.equal(regions, boxes[chosen[:, 0].long()])
    _, others = rules.for_training(boxes, actions, _boxes(), torch.zeros(0), SIZE)
    assert not torch.equal(chosen, others)
    rules = _rules(max_boxes=0)
    assert len(rules.for_training(boxes, actions, _boxes(), torch.zeros(0), SIZE)[0]) == 50


def test_jitter_makes_boxes_larger_on_average():
    torch.manual_seed(0)
    boxes = _boxes([30, 20, 49, 29]).expand(4000, 4)
    rules = _rules(jitter_outward=(0.2, 0.1), jitter_inward=(0.1, 0.05), max_boxes=0)
    found, _ = rules.for_training(boxes, torch.zeros(4000, 1), _boxes(), torch.zeros(0), (100, 100))
    sides = torch.tensor([19.0, 9.0, 19.0, 9.0])
    expected = sides * torch.tensor([-0.05, -0.025, 0.05, 0.025])
    torch.testing.assert_close((found - boxes).mean(0), expected, rtol=0, atol=0.1)
    assert ((found - boxes).abs().amax(0) <= sides * torch.tensor([0.2, 0.1, 0.2, 0.1])).all()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"extension": (0.1,)}, "BOX_EXTENSION is .0.1,."),
        ({"jitter_inward": (0.1, -0.1)}, "JITTER_INWARD"),
        ({"score_thresh": 80}, "BOX_SCORE_THRESH is 80; give a number from 0 to 1"),
        ({"proposal_iou": -0.5}, "PROPOSAL_IOU is -0.5"),
        ({"max_boxes": -1}, "MAX_BOXES is -1; give 0 for all"),
    ],
)
def test_wrong_numbers_name_their_key(changes, message):
    with pytest.raises(UserError, match=f"MODEL.ROI_ACTION.{message}"):
        _rules(**changes)
