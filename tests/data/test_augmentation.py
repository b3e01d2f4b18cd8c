import time

import cv2
import numpy as np
import pytest
from detectron2.data import transforms as T
from PIL import Image

from tubedet.data.augmentation import (
    ClipAugInput,
    ClipResizeTransform,
    HSVShiftTransform,
    RandomAspectPreservingCrop,
    RandomHSVJitter,
    RandomSquareCrop,
    ResizeShortSide,
    build_clip_augmentations,
)
from tubedet.data.visible_boxes import keep_visible_boxes


def clip_with_box(box, height=96, width=128, num_frames=4):
    """Black clip with a white rectangle where the box is, in every frame."""
    frames = np.zeros((num_frames, height, width, 3), np.uint8)
    x1, y1, x2, y2 = box
    frames[:, y1:y2, x1:x2] = 255
    return ClipAugInput(frames, boxes=np.array([box], dtype=np.float64))


def box_of_pixels(frame):
    """Box around the pixels of more than half brightness."""
    rows, columns = np.nonzero(frame[..., 0] > 127)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def published(is_train=True, **changes):
    arguments = {
        "short_sides": (288,),
        "max_size": 10000,
        "crop_short_side": 256,
        "flip": "horizontal",
        "hsv_jitter": (10, 26, 26),
    }
    return build_clip_augmentations(is_train=is_train, **{**arguments, **changes})


@pytest.mark.parametrize("seed", range(12))
def test_boxes_stay_on_their_pixels(seed):
    np.random.seed(seed)
    aug_input = clip_with_box((40, 20, 100, 90))
    T.AugmentationList(published(hsv_jitter=(0, 0, 0)))(aug_input)
    assert aug_input.frames.shape == (4, 256, 341, 3)
    boxes, visible = keep_visible_boxes(aug_input.boxes, height=256, width=341, min_area=30)
    assert visible.tolist() == [True]
    for frame in aug_input.frames:
        np.testing.assert_allclose(boxes[0], box_of_pixels(frame), atol=1.0)


def test_flip_and_crop_are_drawn_once_per_clip_and_do_vary():
    seen = set()
    for seed in range(30):
        np.random.seed(seed)
        aug_input = clip_with_box((10, 20, 50, 60))
        T.AugmentationList(published())(aug_input)
        assert all((frame == aug_input.frames[0]).all() for frame in aug_input.frames)
        seen.add(tuple(np.round(aug_input.boxes[0]).astype(int).tolist()))
    assert len(seen) > 20
    centres = np.array([(x1 + x2) / 2 for x1, _, x2, _ in seen])
    assert (centres < 150).any() and (centres > 190).any()


def test_frames_and_boxes_of_the_caller_are_not_changed():
    aug_input = clip_with_box((10, 20, 50, 60))
    frames, boxes = aug_input.frames, aug_input.boxes
    copies = frames.copy(), boxes.copy()
    T.AugmentationList(published())(aug_input)
    np.testing.assert_array_equal(frames, copies[0])
    np.testing.assert_array_equal(boxes, copies[1])


def test_evaluation_only_resizes():
    for size, expected in {
        (256, 340): (256, 340),
        (96, 128): (256, 341),
        (360, 203): (453, 256),
    }.items():
        aug_input = ClipAugInput(np.zeros((2, *size, 3), np.uint8))
        (resize,) = published(is_train=False, short_sides=(256,))
        resize(aug_input)
        assert aug_input.frames.shape == (2, *expected, 3)


@pytest.mark.parametrize(
    "size, short, max_size, expected",
    [
        ((256, 340), 288, 1000, (288, 382)),  # detectron2 would round to 383
        ((340, 256), 288, 1000, (382, 288)),
        ((100, 100), 50, 1000, (50, 50)),
        ((100, 300), 100, 150, (50, 150)),
        ((300, 100), 100, 150, (150, 50)),
    ],
)
def test_resize_sizes(size, short, max_size, expected):
    transform = ResizeShortSide((short,), max_size).get_transform(np.zeros((*size, 3), np.uint8))
    assert (transform.new_h, transform.new_w) == expected


@pytest.mark.parametrize(
    "size, nearest, down",
    [
        ((480, 854), (256, 455), (256, 455)),  # 455.47
        ((272, 640), (256, 602), (256, 602)),  # 602.35
        ((300, 400), (256, 341), (256, 341)),  # 341.33
        ((401, 300), (342, 256), (342, 256)),  # 342.19
        ((352, 640), (256, 465), (256, 465)),  # 465.45
        ((304, 720), (256, 606), (256, 606)),  # 606.32
        ((360, 639), (256, 454), (256, 454)),  # 454.4
        ((480, 720), (256, 384), (256, 384)),
        ((360, 638), (256, 454), (256, 453)),  # 453.69
        ((641, 512), (321, 256), (320, 256)),  # 320.5
    ],
)
def test_the_long_side_is_rounded_down_or_to_the_nearest(size, nearest, down):
    for is_train in (True, False):
        for round_long_side, expected in ((True, nearest), (False, down)):
            (resize, *_) = build_clip_augmentations(
                is_train=is_train,
                short_sides=(256,),
                max_size=1000,
                round_long_side=round_long_side,
            )
            assert resize.largest_size(*size) == expected
            transform = resize.get_transform(np.zeros((*size, 3), np.uint8))
            assert (transform.new_h, transform.new_w) == expected


def test_resize_draws_among_the_short_sides():
    np.random.seed(0)
    resize = ResizeShortSide((40, 60), 1000)
    heights = {resize.get_transform(np.zeros((50, 50, 3), np.uint8)).new_h for _ in range(30)}
    assert heights == {40, 60}


def test_resize_draws_any_length_of_a_range():
    np.random.seed(0)
    resize = ResizeShortSide((40, 43), 1000, sampling="range")
    heights = {resize.get_transform(np.zeros((50, 50, 3), np.uint8)).new_h for _ in range(60)}
    assert heights == {40, 41, 42, 43}


@pytest.mark.parametrize("new_size", [(64, 85), (144, 192)])
def test_resize_is_pillow_bicubic(new_size):
    noise = np.random.default_rng(0).integers(0, 256, (5, 96, 128, 3), dtype=np.uint8)
    frames = np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in noise])
    resized = ClipResizeTransform(96, 128, *new_size).apply_image(frames)
    assert resized.shape == (5, *new_size, 3) and resized.dtype == np.uint8
    for frame, result in zip(frames, resized, strict=True):
        pillow = Image.fromarray(frame).resize(new_size[::-1], Image.Resampling.BICUBIC)
        difference = np.abs(np.asarray(pillow).astype(int) - result)
        assert difference.max() <= 2 and difference.mean() < 0.05
    one = ClipResizeTransform(96, 128, *new_size).apply_image(frames[1])
    np.testing.assert_array_equal(one, resized[1])


def test_crop_keeps_the_aspect_ratio_and_reaches_every_place():
    np.random.seed(0)
    crop = RandomAspectPreservingCrop(6)
    image = np.zeros((8, 12, 3), np.uint8)
    places = set()
    for _ in range(300):
        transform = crop.get_transform(image)
        assert (transform.h, transform.w) == (6, 9)
        places.add((transform.x0, transform.y0))
    assert places == {(x, y) for x in range(4) for y in range(3)}


@pytest.mark.parametrize(
    "size, expected, places",
    [
        ((8, 12), (6, 6), {(x, y) for x in range(7) for y in range(3)}),
        ((4, 12), (4, 6), {(x, 0) for x in range(7)}),
        ((7, 5), (6, 5), {(0, 0), (0, 1)}),
    ],
)
def test_a_square_crop_reaches_every_place(size, expected, places):
    np.random.seed(0)
    crop, found = RandomSquareCrop(6), set()
    for _ in range(300):
        transform = crop.get_transform(np.zeros((*size, 3), np.uint8))
        assert (transform.h, transform.w) == expected
        found.add((transform.x0, transform.y0))
    assert found == places
    assert isinstance(crop.get_transform(np.zeros((6, 5, 3), np.uint8)), T.NoOpTransform)


def test_a_square_crop_follows_flip_and_size():
    """256 pixels high, of which 224 x 224 are taken: VideoMAE-Action-Detection's clips."""
    clip = clip_with_box((40, 20, 100, 90))
    augmentations = published(short_sides=(256,), crop_short_side=224, crop_shape="square")
    names = [type(augmentation).__name__ for augmentation in augmentations]
    assert names == ["ResizeShortSide", "RandomFlip", "RandomSquareCrop", "RandomHSVJitter"]
    T.AugmentationList(augmentations)(clip)
    assert clip.frames.shape == (4, 224, 224, 3)


def test_crop_leaves_small_frames_alone():
    transform = RandomAspectPreservingCrop(96).get_transform(np.zeros((96, 128, 3), np.uint8))
    assert isinstance(transform, T.NoOpTransform)


def test_hsv_shift_is_that_of_opencv():
    frames = np.random.default_rng(0).integers(0, 256, (3, 20, 24, 3), dtype=np.uint8)
    shifted = HSVShiftTransform(-10, 26, -26).apply_image(frames)
    for frame, result in zip(frames, shifted, strict=True):
        hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV).astype(int)
        hsv[..., 0] = (hsv[..., 0] - 10) % 180
        hsv[..., 1:] = np.clip(hsv[..., 1:] + (26, -26), 0, 255)
        expected = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
        np.testing.assert_array_equal(result, expected)


def test_hsv_jitter_draws_every_whole_number_within_its_bounds():
    np.random.seed(0)
    jitter = RandomHSVJitter(2, 1, 0)
    drawn = [jitter.get_transform(np.zeros((2, 2, 3), np.uint8)) for _ in range(200)]
    assert {t.hue for t in drawn} == {-2, -1, 0, 1, 2}
    assert {t.saturation for t in drawn} == {-1, 0, 1} and {t.value for t in drawn} == {0}


def test_other_augmentations_of_detectron2_can_be_used():
    np.random.seed(0)
    aug_input = clip_with_box((40, 20, 100, 90))
    T.AugmentationList(
        [T.RandomRotation([90, 90]), T.ResizeShortestEdge(64), T.RandomFlip(1.0, horizontal=True)]
    )(aug_input)
    assert aug_input.frames.shape == (4, 85, 64, 3)
    for frame in aug_input.frames:
        np.testing.assert_allclose(aug_input.boxes[0], box_of_pixels(frame), atol=1.0)


def test_no_boxes_at_all():
    aug_input = ClipAugInput(np.zeros((2, 96, 128, 3), np.uint8), boxes=np.empty((0, 4)))
    T.AugmentationList(published())(aug_input)
    kept, visible = keep_visible_boxes(aug_input.boxes, height=9, width=9, min_area=30)
    assert kept.shape == (0, 4) and visible.shape == (0,)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"flip": "vertical"}, "INPUT.RANDOM_FLIP"),
        ({"short_sides": (0,)}, "sizes must be positive"),
        ({"hsv_jitter": (-1, 0, 0)}, "must not be negative"),
        ({"crop_short_side": -4}, "must be positive"),
        ({"crop_short_side": -4, "crop_shape": "square"}, "must be positive"),
        ({"crop_shape": "round"}, "INPUT.CLIP.CROP_SHAPE is 'round'; choose one of .'frame', 'sq"),
        ({"short_side_sampling": "any"}, "INPUT.MIN_SIZE_TRAIN_SAMPLING is 'any'; give 'choice'"),
        ({"short_side_sampling": "range"}, r"largest length, not \(288,\)"),
        ({"short_side_sampling": "range", "short_sides": (3, 2)}, r"largest length, not \(3, 2\)"),
    ],
)
def test_nonsense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        published(**changes)


def test_toy_clip_takes_few_milliseconds():
    frames = np.random.default_rng(0).integers(0, 256, (8, 96, 128, 3), dtype=np.uint8)
    augmentations = T.AugmentationList(published(short_sides=(72,), crop_short_side=64))
    seconds = []
    for _ in range(50):
        start = time.process_time()
        augmentations(ClipAugInput(frames, boxes=np.array([[10.0, 10, 50, 50]])))
        seconds.append(time.process_time() - start)
    assert np.median(seconds) < 0.02  # about 1.5 ms; the margin is for busy machines


def test_tubes_follow_every_transform():
    frames = np.zeros((4, 40, 80, 3), np.uint8)
    boxes = np.array([[10.0, 5.0, 30.0, 25.0]])
    tubes = np.stack([boxes, boxes + 4, boxes, boxes * np.nan], axis=1)
    clip = ClipAugInput(frames, boxes=boxes, tubes=tubes)
    clip.transform(T.HFlipTransform(80))
    clip.transform(ClipResizeTransform(40, 80, 80, 160))
    clip.transform(T.CropTransform(60, 10, 60, 60, 160, 80))
    np.testing.assert_allclose(clip.boxes, [[40, 0, 80, 40]])
    expected = [[40, 0, 80, 40], [32, 8, 72, 48], [40, 0, 80, 40], [np.nan] * 4]
    np.testing.assert_allclose(clip.tubes, [expected])
