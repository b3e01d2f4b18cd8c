"""Clips of data sets that are annotated frame by frame."""

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.data import ActionTube, register_action_tubes
from tubedet.data.annotations.tube_files import AnnotatedVideo
from tubedet.data.augmentation import build_clip_augmentations
from tubedet.data.dataset_mapper import ClipDatasetMapper


def make_mapper(is_train, *, augmentations=(), **changes):
    arguments = {"num_frames": 8, "frame_stride": 2, "fps": 30, "num_actions": 12}
    return ClipDatasetMapper(is_train, augmentations=augmentations, **{**arguments, **changes})


@pytest.fixture
def tube_frame(tmp_path, write_video):
    """Frame 60 of a film of 120 frames at 25 a second with tubes of two persons."""
    tubes = [
        ActionTube(3, np.arange(55, 65), np.zeros((10, 4), np.float32), 0),
        ActionTube(0, np.array([60]), np.array([[32, 12, 64, 36]], np.float32), 1),
    ]
    tubes[0].boxes[:] = np.arange(10)[:, None] + [8, 4, 40, 30]
    name = f"mapper_{tmp_path.name}"
    register_action_tubes(
        name,
        lambda: {"film": AnnotatedVideo(tubes, num_frames=120, size=(48, 64))},
        action_names=["a"] * 12,
        frames_dir=str(tmp_path / "none"),
        videos_dir=str(tmp_path),
        fps=30.0,
        exclusive_actions=True,
    )
    write_video(tmp_path / "film.mp4", 120, rate=25)
    yield DatasetCatalog.get(name)[59]
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_tubes_are_aligned_with_the_stored_frames(tube_frame, numbers_in):
    mapped = make_mapper(True, fps=15)(tube_frame)
    # The stride counts stored frames, neither those of fps=15 nor those of the nominal 30.
    numbers = numbers_in(mapped["clip"].permute(1, 2, 3, 0).numpy())
    assert numbers == [51, 53, 55, 57, 59, 61, 63, 65] and numbers[8 // 2] + 1 == 60
    tubes = mapped["instances"].gt_tubes
    assert tubes.shape == (2, 8, 4) and tubes.dtype == torch.float32
    # Frames 56, 58, 60, 62 and 64 have a box of the first person, frame 60 one of the second.
    nan = float("nan")
    expected = torch.tensor([nan, nan, 9.0, 11.0, 13.0, 15.0, 17.0, nan])
    torch.testing.assert_close(tubes[0, :, 0], expected, equal_nan=True)
    assert tubes[1].isfinite().all(-1).tolist() == [i == 4 for i in range(8)]
    torch.testing.assert_close(tubes[:, 4], mapped["instances"].gt_boxes.tensor)
    assert mapped["frame_number"] == 60 and (mapped["height"], mapped["width"]) == (48, 64)


def test_tubes_follow_the_augmentation(tube_frame):
    augmentations = build_clip_augmentations(
        is_train=True, short_sides=(96,), max_size=1000, crop_short_side=80, flip="horizontal"
    )
    mapper = make_mapper(True, augmentations=augmentations)
    np.random.seed(0)
    lefts = set()
    for _ in range(20):
        instances = mapper(tube_frame)["instances"]
        torch.testing.assert_close(instances.gt_tubes[:, 4], instances.gt_boxes.tensor)
        steps = instances.gt_tubes[0, 2:6].diff(dim=0)
        # Two stored pixels in two frames, twice as many after the resize; less at a cut edge.
        assert (steps.abs() <= 4).all() and (steps.abs() == 4).any()
        lefts.add(instances.gt_tubes[0, 4, 0].item())
    assert len(lefts) > 5


def test_persons_cropped_away_have_no_tube(tube_frame):
    mapped = make_mapper(True, min_box_area=800)(tube_frame)
    assert mapped["instances"].gt_actions.nonzero().tolist() == [[0, 3]]
    assert mapped["instances"].gt_tubes.shape == (1, 8, 4)


def test_persons_of_other_frames_and_frames_beyond_the_video_are_told_apart(tmp_path, write_video):
    box = np.array([8, 4, 40, 30], np.float32)
    tubes = [
        ActionTube(3, np.arange(1, 9), np.tile(box, (8, 1)), 0),
        ActionTube(5, np.arange(6, 9), np.tile(box + 10, (3, 1)), 1),
        ActionTube(7, np.arange(90, 99), np.tile(box, (9, 1)), 2),
        ActionTube(9, np.array([4, 8]), np.array([[0, 0, 5, 5], box]), 3),
    ]
    name = f"mapper_{tmp_path.name}"
    register_action_tubes(
        name,
        lambda: {"film": AnnotatedVideo(tubes, num_frames=120, size=(48, 64))},
        action_names=["a"] * 12,
        frames_dir=str(tmp_path / "none"),
        videos_dir=str(tmp_path),
        fps=30.0,
        exclusive_actions=True,
    )
    write_video(tmp_path / "film.mp4", 120, rate=25)
    mapped = make_mapper(True)(DatasetCatalog.get(name)[3])
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)
    # Frames -4 to 10 in steps of two; the first three repeat frame 1.
    assert mapped["frame_annotated"].tolist() == [False] * 3 + [True] * 5
    assert mapped["instances"].gt_actions.nonzero().tolist() == [[0, 3]]
    # The last one is too small in the key frame, and is there in frame 8.
    others = mapped["other_persons"]
    assert others.gt_actions.nonzero().tolist() == [[0, 9], [1, 5]]
    frames = [valid.nonzero()[:, 0].tolist() for valid in others.gt_tubes.isfinite().all(-1)]
    assert frames == [[6], [5, 6]]
