"""The mapper hands given boxes on with the clip, in its pixels."""

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import Boxes, BoxMode

from tubedet.data.augmentation import ResizeShortSide
from tubedet.data.dataset_mapper import ClipDatasetMapper


@pytest.fixture
def key_frame(tmp_path, write_video):
    """A key frame of 64x48 pixels with one annotated person and three given boxes."""
    annotation = {"bbox": [8.0, 4.0, 40.0, 44.0], "bbox_mode": BoxMode.XYXY_ABS, "actions": [3]}
    return {
        "video_id": "film",
        "timestamp": 902.0,
        "video": write_video(tmp_path / "film.mp4", 120, b_frames=2),
        "fps": 30.0,
        "start_second": 900.0,
        "height": 48,
        "width": 64,
        "annotations": [annotation],
        "proposal_boxes": [[0.0, 0, 0.5, 0.5], [0.25, 0.5, 1.25, 1.0], [1.1, 0, 1.2, 1]],
        "proposal_bbox_mode": BoxMode.XYXY_REL,
        "proposal_scores": np.array([[0.9], [0.25], [1.0]]),
    }


def _mapper(is_train, augmentations=(), **changes):
    sampling = {"num_frames": 4, "frame_stride": 2, "fps": 30, "num_actions": 12}
    return ClipDatasetMapper(is_train, augmentations=augmentations, **{**sampling, **changes})


def test_boxes_are_cut_at_the_frame_and_keep_their_scores(key_frame):
    mapped = _mapper(False)(key_frame)
    proposals = mapped["proposals"]
    assert proposals.image_size == (48, 64) and isinstance(proposals.proposal_boxes, Boxes)
    # The third lies outside.
    expected = torch.tensor([[0.0, 0, 32, 24], [16, 24, 64, 48]])
    assert torch.equal(proposals.proposal_boxes.tensor, expected)
    assert torch.equal(proposals.scores, torch.tensor([0.9, 0.25]))
    assert not {"proposal_boxes", "proposal_scores", "proposal_bbox_mode"} & set(mapped)


def test_boxes_go_with_the_clip_through_its_augmentation(key_frame):
    """Half the size, mirrored, and without the left half."""
    augmentations = [ResizeShortSide((24,), 100), T.HFlipTransform(32)]
    augmentations.append(T.CropTransform(16, 0, 16, 24, 32, 24))
    mapped = _mapper(True, augmentations)(key_frame)
    assert mapped["clip"].shape == (3, 4, 24, 16)
    boxes = mapped["proposals"].proposal_boxes.tensor
    assert torch.equal(boxes, torch.tensor([[0.0, 0, 16, 12], [0, 12, 8, 24]]))
    assert mapped["proposals"].scores.tolist() == [pytest.approx(0.9), 0.25]
    truth = mapped["instances"].gt_boxes.tensor
    assert torch.equal(truth, torch.tensor([[0.0, 2.0, 12.0, 22.0]]))


def test_in_training_boxes_of_which_hardly_anything_is_left_are_dropped(key_frame):
    augmentations = [T.CropTransform(0, 0, 20, 48, 64, 48)]
    mapped = _mapper(True, augmentations, min_box_area=100.0)(key_frame)
    # 4 of the 48 columns of the second box are left: 96 square pixels.
    assert mapped["proposals"].proposal_boxes.tensor.tolist() == [[0, 0, 20, 24]]
    assert len(_mapper(False, augmentations, min_box_area=100.0)(key_frame)["proposals"]) == 2
    mapped = _mapper(True, augmentations, min_box_area=0.0, min_box_share=0.2)(key_frame)
    assert mapped["proposals"].scores.tolist() == [pytest.approx(0.9)]


def test_boxes_in_pixels_without_scores_are_certain(key_frame):
    key_frame["proposal_boxes"] = [[8.0, 4.0, 40.0, 44.0]]
    key_frame["proposal_bbox_mode"] = BoxMode.XYXY_ABS
    del key_frame["proposal_scores"]
    proposals = _mapper(False)(key_frame)["proposals"]
    assert proposals.proposal_boxes.tensor.tolist() == [[8, 4, 40, 44]]
    assert proposals.scores.tolist() == [1]


def test_no_given_box_is_an_empty_field_and_no_field_is_none(key_frame):
    key_frame["proposal_boxes"], key_frame["proposal_scores"] = [], []
    assert len(_mapper(False)(key_frame)["proposals"]) == 0
    assert len(_mapper(False, ground_truth_boxes=True)(key_frame)["proposals"]) == 0
    del key_frame["proposal_boxes"]
    assert "proposals" not in _mapper(False)(key_frame)


def test_annotated_boxes_take_their_place_in_evaluation_alone(key_frame):
    del key_frame["proposal_boxes"]
    proposals = _mapper(False, ground_truth_boxes=True)(key_frame)["proposals"]
    assert proposals.proposal_boxes.tensor.tolist() == [[8, 4, 40, 44]]
    assert proposals.scores.tolist() == [1]
    assert "proposals" not in _mapper(True, ground_truth_boxes=True)(key_frame)
