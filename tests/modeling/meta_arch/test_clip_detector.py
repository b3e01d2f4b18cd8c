"""What all architectures share, shown on a detector without parameters."""

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch import nn
from torchvision.ops import box_convert

from tubedet.modeling import HungarianMatcher, LayerOutput, SetCriterion
from tubedet.modeling.meta_arch import ClipDetector


class FixedDetector(ClipDetector):
    """Sees one query in the middle of every clip, in four frames."""

    num_steps = 4

    def predict(self, clips, all_layers=False):
        self.seen = clips
        b = len(clips.sizes)
        boxes = torch.tensor([0.5, 0.5, 0.2, 0.2]).expand(b, 4, 1, 4)
        return [LayerOutput(torch.zeros(b, 1, 3), boxes[:, 2], frame_boxes=boxes)]


def _detector(person_only=False):
    backbone = nn.Identity()
    backbone.size_divisibility = 32
    return FixedDetector(
        backbone=backbone,
        num_actions=3,
        person_only=person_only,
        exclusive=False,
        aux_loss=True,
        person_thresh=0.0,
        criterion=SetCriterion(
            matcher=HungarianMatcher(cost_class=1, cost_bbox=1, cost_giou=1),
            exclusive=False,
            weights={"loss_ce": 1.0, "loss_bbox": 1.0, "loss_giou": 1.0},
            action_loss="focal",
        ),
        pixel_mean=[0.0] * 3,
        pixel_std=[255.0] * 3,
    )


@pytest.fixture
def detector():
    return _detector()


def _instances(height=50, width=100):
    instances = Instances((height, width))
    instances.gt_boxes = Boxes(torch.tensor([[10.0, 20.0, 30.0, 40.0]]))
    instances.gt_actions = torch.ones(1, 3)
    return instances


def test_targets_are_fractions_of_the_unpadded_clip(detector):
    target = detector._target({"instances": _instances()}, (50, 100))
    expected = box_convert(torch.tensor([[0.1, 0.4, 0.3, 0.8]]), "xyxy", "cxcywh")
    torch.testing.assert_close(target.boxes, expected)
    assert target.frame_boxes is None


def test_a_person_detector_sees_one_class():
    detector = _detector(person_only=True)
    instances = _instances()
    instances.gt_actions = torch.zeros(1, 77)
    target = detector._target({"instances": instances}, (50, 100))
    assert target.actions.tolist() == [[1.0]]
    assert detector.num_actions == detector.num_outputs == 1


def test_tubes_are_taken_in_the_frames_that_are_predicted(detector):
    instances = _instances()
    tubes = torch.arange(8.0)[:, None] * torch.tensor([1.0, 2.0, 3.0, 4.0])
    tubes[2] = float("nan")
    instances.gt_tubes = tubes[None]
    target = detector._target({"instances": instances}, (50, 100))
    assert target.frame_valid.tolist() == [[True, False, True, True]]
    corners = box_convert(target.frame_boxes[0, 3], "cxcywh", "xyxy")
    torch.testing.assert_close(corners, torch.tensor([6 / 100, 12 / 50, 18 / 100, 24 / 50]))
    instances.gt_tubes = tubes[None, :6]
    with pytest.raises(ValueError, match="6 frames, not a multiple of the 4"):
        detector._target({"instances": instances}, (50, 100))


def test_tube_mode_knows_who_is_in_other_frames_and_which_frames_count(detector):
    instances, others = _instances(), Instances((50, 100))
    instances.gt_tubes = torch.rand(1, 8, 4)
    others.gt_tubes = torch.full((2, 8, 4), float("nan"))
    others.gt_tubes[1, 4:] = torch.tensor([10.0, 20.0, 30.0, 40.0])
    others.gt_actions = torch.eye(3)[1:]
    clip_input = {
        "instances": instances,
        "other_persons": others,
        "frame_annotated": np.array([False, True, True, True, True, True, True, False]),
    }
    target = detector._target(clip_input, (50, 100))
    assert list(target.frame_annotated) == [False, True, True, True]
    assert target.others.frame_valid.tolist() == [[False] * 4, [False, False, True, True]]
    assert target.others.actions.tolist() == torch.eye(3)[1:].tolist()
    corners = box_convert(target.others.frame_boxes[1, 2], "cxcywh", "xyxy")
    torch.testing.assert_close(corners, torch.tensor([0.1, 0.4, 0.3, 0.8]))
    persons = _detector(person_only=True)._target(clip_input, (50, 100))
    assert persons.others.actions.tolist() == [[1.0], [1.0]]


def test_clips_are_padded_to_what_the_backbone_needs(detector):
    clips = [torch.zeros(3, 8, 33, 40, dtype=torch.uint8), torch.zeros(3, 8, 20, 70)]
    results = detector.eval()([{"clip": clip} for clip in clips])
    assert detector.seen.tensor.shape[-2:] == (64, 96)
    assert [r["instances"].image_size for r in results] == [(33, 40), (20, 70)]
    centre = results[1]["instances"].pred_boxes.get_centers()
    torch.testing.assert_close(centre, torch.tensor([[35.0, 10.0]]))


def test_boxes_are_cut_at_the_borders_on_demand(detector):
    clip_input = {"clip": torch.zeros(3, 8, 32, 32), "height": 100, "width": 100}
    detector.eval().predict = lambda clips, all_layers: [
        LayerOutput(torch.zeros(1, 1, 3), torch.tensor([[[0.0, 0.5, 0.4, 2.0]]]))
    ]
    (kept,) = detector([clip_input])
    assert kept["instances"].pred_boxes.tensor.tolist() == [[-20, -50, 20, 150]]
    detector.clip_boxes = True
    (cut,) = detector([clip_input])
    assert cut["instances"].pred_boxes.tensor.tolist() == [[0, 0, 20, 100]]
