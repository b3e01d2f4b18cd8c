import itertools

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T

from tubedet.data.augmentation import (
    ClipAugInput,
    ClipResizeTransform,
    HSVShiftTransform,
    build_clip_augmentations,
)
from tubedet.data.device_augmentation import DEFERRABLE, apply_transforms, finish_clips, shift_hsv

# All of them, in steps of 5: every hue, grey, black and white.
COLOURS = np.array(list(itertools.product(range(0, 256, 5), repeat=3)), np.uint8)


@pytest.mark.parametrize(
    "shift", [(0, 0, 0), (7, 20, -13), (-10, -26, 26), (10, 26, 26), (-3, 0, 0)]
)
def test_colours_are_those_of_opencv_but_for_rounding(shift):
    expected = HSVShiftTransform(*shift).apply_image(COLOURS[None, None]).reshape(-1, 3)
    found = shift_hsv(torch.from_numpy(COLOURS).T.contiguous(), *shift).T.numpy()
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05
    assert (np.abs(COLOURS.astype(int) - expected) > 0).mean() > 0.3  # something was shifted


def _frames(seed=0):
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.integers(0, 256, (4, 3, 6, 9)).astype(np.float32))
    fine = torch.nn.functional.interpolate(coarse, (48, 72), mode="bilinear")
    return fine.permute(0, 2, 3, 1).byte().numpy().copy()


def test_crops_and_flips_are_equal():
    frames = _frames()
    transforms = [T.CropTransform(3, 5, 40, 30), T.HFlipTransform(40)]
    expected = frames
    for transform in transforms:
        expected = transform.apply_image(expected)
    clip = apply_transforms(torch.from_numpy(frames), transforms)
    assert clip.is_contiguous() and clip.shape == (3, 4, 30, 40)
    assert np.array_equal(clip.permute(1, 2, 3, 0).numpy(), expected)
    with pytest.raises(TypeError, match="VFlipTransform is not known"):
        apply_transforms(torch.from_numpy(frames), [T.VFlipTransform(48)])


@pytest.mark.parametrize("seed", range(6))
def test_the_pipeline_draws_and_gives_the_same(seed):
    augmentations = T.AugmentationList(
        build_clip_augmentations(
            is_train=True,
            short_sides=(36, 44, 48),
            max_size=1000,
            crop_short_side=32,
            flip="horizontal",
            hsv_jitter=(10, 26, 26),
        )
    )
    boxes = np.array([[4.0, 6.0, 30.0, 40.0], [20.0, 1.0, 71.0, 47.0]])
    tubes = np.repeat(boxes[:, None], 4, axis=1)
    tubes[0, 1] = np.nan
    results = []
    for deferrable in ((), DEFERRABLE):
        np.random.seed(seed)
        results.append(ClipAugInput(_frames(seed), boxes=boxes, tubes=tubes, deferrable=deferrable))
        augmentations(results[-1])
    here, deferred = results
    assert here.deferred == [] and len(deferred.deferred) in (2, 3)
    assert deferred.frames.shape[1:3] in ((36, 54), (44, 66), (48, 72))
    assert here.image.shape == deferred.image.shape == (32, 48, 3)
    np.testing.assert_array_equal(here.boxes, deferred.boxes)
    np.testing.assert_array_equal(here.tubes, deferred.tubes)
    item = {"frames": torch.from_numpy(deferred.frames), "deferred": deferred.deferred, "id": 5}
    finished, other = finish_clips([item, {"clip": 7}])
    assert set(finished) == {"clip", "id"} and other == {"clip": 7}
    difference = np.abs(finished["clip"].permute(1, 2, 3, 0).numpy().astype(int) - here.frames)
    assert difference.max() <= 1 and difference.mean() < 0.15  # OpenCV rounds the last of a row


def test_what_cannot_wait_comes_after_what_was_deferred():
    frames = _frames()
    clip = ClipAugInput(frames, deferrable=DEFERRABLE)
    crop, resize = T.CropTransform(3, 5, 40, 30, 72, 48), ClipResizeTransform(30, 40, 15, 20)
    for transform in (crop, resize, T.HFlipTransform(20)):
        clip.transform(transform)
    assert [type(t) for t in clip.deferred] == [T.HFlipTransform]
    expected = resize.apply_image(crop.apply_image(frames))
    assert np.array_equal(clip.frames, expected)
    assert np.array_equal(clip.image, expected[2][:, ::-1])
