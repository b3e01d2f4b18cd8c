import copy
import pickle

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import (
    DatasetFromList,
    MapDataset,
    build_detection_test_loader,
)
from detectron2.structures import Boxes, BoxMode

from tubedet.config import add_tubedet_config
from tubedet.data.augmentation import ClipAugInput, build_clip_augmentations
from tubedet.data.dataset_mapper import ClipDatasetMapper
from tubedet.data.device_transfer import DevicePrefetcher
from tubedet.data.video.reader import VideoError


@pytest.fixture
def key_frame(tmp_path, write_video):
    """Key frame 2 s after the start of a film of 120 frames, film time 900 to 904 s."""
    return {
        "video_id": "film",
        "timestamp": 902.0,
        "video": write_video(tmp_path / "film.mp4", 120, b_frames=2),
        "fps": 30.0,
        "start_second": 900.0,
        "height": 48,
        "width": 64,
        "annotations": [
            {
                "bbox": [8.0, 4.0, 40.0, 44.0],
                "bbox_mode": BoxMode.XYXY_ABS,
                "actions": [3, 11],
                "person_id": 5,
            },
            {
                "bbox": [0.5, 0.25, 1.0, 0.75],
                "bbox_mode": BoxMode.XYXY_REL,
                "actions": [0],
                "person_id": -1,
            },
        ],
    }


def make_mapper(is_train, *, augmentations=(), **changes):
    arguments = {"num_frames": 8, "frame_stride": 2, "fps": 30, "num_actions": 12}
    return ClipDatasetMapper(is_train, augmentations=augmentations, **{**arguments, **changes})


def test_training_input(key_frame, numbers_in):
    mapped = make_mapper(True)(key_frame)
    assert sorted(mapped) == [
        "clip",
        "fps",
        "height",
        "instances",
        "start_second",
        "timestamp",
        "video",
        "video_id",
        "width",
    ]
    clip, instances = mapped["clip"], mapped["instances"]
    assert clip.shape == (3, 8, 48, 64) and clip.dtype == torch.uint8 and clip.is_contiguous()
    numbers = numbers_in(clip.permute(1, 2, 3, 0).numpy())
    assert numbers == [52, 54, 56, 58, 60, 62, 64, 66] and numbers[8 // 2] == 60
    assert (mapped["height"], mapped["width"]) == (48, 64)
    assert instances.image_size == (48, 64)
    assert isinstance(instances.gt_boxes, Boxes)
    expected = torch.tensor([[8.0, 4.0, 40.0, 44.0], [32.0, 12.0, 64.0, 36.0]])
    torch.testing.assert_close(instances.gt_boxes.tensor, expected)
    assert instances.gt_actions.dtype == torch.float32
    assert [row.nonzero().flatten().tolist() for row in instances.gt_actions] == [[3, 11], [0]]
    assert instances.gt_actions.shape == (2, 12) and instances.gt_actions.max() == 1


def test_evaluation_input_has_no_instances_and_the_stored_size(key_frame):
    augmentations = build_clip_augmentations(is_train=False, short_sides=(24,), max_size=100)
    mapped = make_mapper(False, augmentations=augmentations)(key_frame)
    assert "instances" not in mapped and "annotations" not in mapped
    assert mapped["clip"].shape == (3, 8, 24, 32)
    assert (mapped["height"], mapped["width"]) == (48, 64)
    assert (mapped["video_id"], mapped["timestamp"]) == ("film", 902.0)


def test_size_is_filled_in_where_the_data_set_does_not_know_it(key_frame):
    del key_frame["height"], key_frame["width"]
    mapped = make_mapper(False)(key_frame)
    assert (mapped["height"], mapped["width"]) == (48, 64)


def test_wrong_size_in_the_data_set_is_an_error(key_frame):
    key_frame["height"] = 96
    with pytest.raises(ValueError, match=r"film\.mp4: frames of 64x48 pixels, .*says 64x96"):
        make_mapper(False)(key_frame)


def test_dataset_dict_is_not_changed(key_frame):
    before = copy.deepcopy(key_frame)
    augmentations = build_clip_augmentations(
        is_train=True, short_sides=(40,), max_size=100, crop_short_side=30, flip="horizontal"
    )
    make_mapper(True, augmentations=augmentations)(key_frame)
    assert key_frame == before


def test_stride_counts_in_the_sampling_rate_not_in_the_stored_one(key_frame, numbers_in):
    mapper = make_mapper(False, num_frames=4, frame_stride=3, fps=15)
    clip = mapper(key_frame)["clip"]
    assert numbers_in(clip.permute(1, 2, 3, 0).numpy()) == [48, 54, 60, 66]


def test_a_shifted_clip_misses_its_key_frame(key_frame, numbers_in):
    mapper = make_mapper(False, num_frames=4, frame_stride=4, frame_shift=1)
    clip = mapper(key_frame)["clip"]
    assert numbers_in(clip.permute(1, 2, 3, 0).numpy()) == [53, 57, 61, 65]


def test_key_frame_keeps_its_slot_at_the_edges(key_frame, numbers_in):
    key_frame["timestamp"] = 900.0
    clip = make_mapper(False)(key_frame)["clip"]
    assert numbers_in(clip.permute(1, 2, 3, 0).numpy()) == [0, 0, 0, 0, 0, 2, 4, 6]


@pytest.mark.parametrize("is_train", [True, False])
def test_large_jpgs_are_decoded_reduced_and_boxes_follow(key_frame, tmp_path, is_train):
    folder = tmp_path / "frames"
    folder.mkdir()
    image = np.zeros((192, 256, 3), np.uint8)
    image[16:176, 32:160] = 255  # the first box, in a frame four times as large
    for number in range(120):
        cv2.imwrite(str(folder / f"{number:03d}.jpg"), image)
    key_frame.update(video=str(folder), height=192, width=256)
    key_frame["annotations"][0]["bbox"] = [32.0, 16.0, 160.0, 176.0]
    augmentations = build_clip_augmentations(is_train=is_train, short_sides=(80,), max_size=1000)
    mapper = make_mapper(is_train, augmentations=augmentations, min_decoded_side=80)
    frames, stored_size = mapper.read_clip(key_frame)
    assert frames.shape == (8, 96, 128, 3) and stored_size == (192, 256)
    mapped = mapper(key_frame)
    assert mapped["clip"].shape == (3, 8, 80, 106)
    assert (mapped["height"], mapped["width"]) == (192, 256)
    if is_train:
        x1, y1, x2, y2 = mapped["instances"].gt_boxes.tensor[0].round().int().tolist()
        assert (x1, y1, x2, y2) == (13, 7, 66, 73)
        inside = mapped["clip"][:, :, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
        assert inside.min() > 250
        assert mapped["clip"].float().mean() == pytest.approx(255 * 160 * 128 / 192 / 256, abs=2)
        expected = torch.tensor([0.5 * 106, 0.25 * 80, 106, 0.75 * 80])
        torch.testing.assert_close(mapped["instances"].gt_boxes.tensor[1], expected)


def test_boxes_follow_the_augmentation(key_frame):
    augmentations = build_clip_augmentations(
        is_train=True, short_sides=(96,), max_size=1000, flip="horizontal"
    )
    mapper = make_mapper(True, augmentations=augmentations)
    np.random.seed(0)
    lefts = set()
    for _ in range(20):
        instances = mapper(key_frame)["instances"]
        assert instances.image_size == (96, 128)
        lefts.add(instances.gt_boxes.tensor[0, 0].item())
    assert lefts == {16.0, 48.0}


def test_another_key_frame_is_drawn_when_no_box_is_left(key_frame):
    assert make_mapper(True, min_box_area=10_000)(key_frame) is None
    assert len(make_mapper(True, min_box_area=1_000)(key_frame)["instances"]) == 1


def test_empty_key_frame_is_a_valid_training_input(key_frame):
    key_frame["annotations"] = []
    instances = make_mapper(True)(key_frame)["instances"]
    assert len(instances) == 0 and instances.gt_actions.shape == (0, 12)
    assert instances.gt_boxes.tensor.shape == (0, 4)


def test_action_outside_of_the_model_is_an_error(key_frame):
    with pytest.raises(ValueError, match=r"'film' has the actions \[3, 11\].*NUM_ACTIONS is 11"):
        make_mapper(True, num_actions=11)(key_frame)


def test_missing_video_names_file_video_and_key_frame(key_frame):
    key_frame["video"] = "no/such/film.mp4"
    with pytest.raises(VideoError, match=r"key frame 902 s of video 'film' .*no/such/film\.mp4"):
        make_mapper(True)(key_frame)


def test_training_draws_another_key_frame_for_broken_ones_up_to_the_limit(key_frame):
    broken = [
        {**key_frame, "video": "no/such/film.mp4", "timestamp": float(t)} for t in (902, 903, 904)
    ]
    dataset = DatasetFromList([*broken[:2], key_frame])
    loader = MapDataset(dataset, make_mapper(True, max_broken_keyframes=2))
    for _ in range(3):
        assert [loader[i]["timestamp"] for i in range(3)] == [902.0] * 3
        assert {loader[i]["video"] for i in range(3)} == {key_frame["video"]}
    strict = MapDataset(DatasetFromList(broken), make_mapper(True, max_broken_keyframes=2))
    with pytest.raises(VideoError, match="3 broken key frames"):
        strict[0]


def test_evaluation_never_skips(key_frame):
    key_frame["video"] = "no/such/film.mp4"
    with pytest.raises(VideoError, match="key frame 902 s"):
        make_mapper(False, max_broken_keyframes=100)(key_frame)


def test_workers_give_what_one_process_gives(key_frame):
    dataset_dicts = [{**key_frame, "timestamp": 900.5 + i / 4} for i in range(12)]
    mapper = make_mapper(False)
    expected = [mapper(record)["clip"] for record in dataset_dicts]  # leaves the video open
    loader = build_detection_test_loader(dataset_dicts, mapper=mapper, num_workers=2)
    for (mapped,), clip in zip(loader, expected, strict=True):
        torch.testing.assert_close(mapped["clip"], clip, rtol=0, atol=0)


def test_augmentation_on_the_device_changes_no_clip(cfg, key_frame):
    """Through workers and loader, with the random numbers of either way."""
    cfg.INPUT.MIN_SIZE_TRAIN = (40,)
    cfg.INPUT.CLIP.CROP_SHORT_SIDE = 36
    cfg.INPUT.CLIP.NUM_FRAMES = 4
    found = []
    for on_device in (False, True):
        cfg.INPUT.CLIP.AUGMENT_ON_DEVICE = on_device
        mapper = ClipDatasetMapper(cfg, is_train=True)
        np.random.seed(4)
        batches = [[mapper(key_frame)] for _ in range(4)]
        assert ("clip" in batches[0][0]) != on_device
        found.append([item for (item,) in DevicePrefetcher(batches, "cpu")])
    for here, there in zip(*found, strict=True):
        assert here.keys() == there.keys()
        assert here["clip"].shape == there["clip"].shape == (3, 4, 36, 47)
        assert (here["clip"].int() - there["clip"].int()).abs().max() <= 1
        boxes = here["instances"].gt_boxes.tensor, there["instances"].gt_boxes.tensor
        assert len(boxes[0]) and torch.equal(*boxes)
    # Evaluation has nothing to wait for.
    assert "clip" in ClipDatasetMapper(cfg, is_train=False)(key_frame)


def test_mapper_can_be_pickled_after_use(key_frame):
    mapper = make_mapper(False)
    clip = mapper(key_frame)["clip"]
    torch.testing.assert_close(pickle.loads(pickle.dumps(mapper))(key_frame)["clip"], clip)


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_tubedet_config(cfg)
    return cfg


def test_config_reaches_the_mapper(cfg, key_frame):
    cfg.INPUT.MIN_SIZE_TRAIN = (40,)
    cfg.INPUT.MIN_SIZE_TEST = 30
    cfg.INPUT.CLIP.CROP_SHORT_SIDE = 36
    cfg.INPUT.CLIP.NUM_FRAMES = 6
    cfg.INPUT.CLIP.FRAME_STRIDE = 3
    cfg.INPUT.CLIP.FPS = 15.0
    cfg.INPUT.CLIP.MIN_BOX_AREA = 7.0
    cfg.MODEL.NUM_ACTIONS = 20
    cfg.DATALOADER.MAX_BROKEN_KEYFRAMES = 4
    mapper = ClipDatasetMapper(cfg, is_train=True)
    assert (mapper.num_frames, mapper.frame_stride, mapper.fps) == (6, 3, 15.0)
    assert mapper.frame_shift == 0
    assert (mapper.min_box_area, mapper._broken_videos.max_broken) == (7.0, 4)
    assert mapper.min_decoded_side == 40
    mapped = mapper(key_frame)
    assert mapped["clip"].shape == (3, 6, 36, 47)
    assert mapped["instances"].gt_actions.shape == (2, 20)
    mapper = ClipDatasetMapper(cfg, is_train=False)
    assert mapper(key_frame)["clip"].shape == (3, 6, 30, 40)
    assert mapper._broken_videos.max_broken == 0
    assert mapper.min_decoded_side == 30


def test_shift_and_span_of_a_config_reach_the_mapper(cfg):
    cfg.INPUT.CLIP.NUM_FRAMES, cfg.INPUT.CLIP.FRAME_SHIFT = 8, 3
    mapper = ClipDatasetMapper(cfg, is_train=False)
    assert (mapper.frame_stride, mapper.frame_shift) == (2, 3)
    cfg.INPUT.CLIP.FRAME_SHIFT, cfg.INPUT.CLIP.SPAN = 0, 300
    mapper = ClipDatasetMapper(cfg, is_train=True)
    assert (mapper.frame_stride, mapper.frame_shift) == (37.5, 18.75)
    assert mapper._frame_offsets().tolist() == [-132, -94, -57, -19, 18, 56, 93, 131]


@pytest.mark.parametrize("size", [(48, 64), (90, 48), (200, 47)])
@pytest.mark.parametrize("crop", [("frame", 36), ("square", 36), ("frame", 0)])
def test_the_size_of_a_clip_is_known_before_it_is_read(cfg, size, crop):
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (40,), 120
    cfg.INPUT.CLIP.ROUND_LONG_SIDE = True
    cfg.INPUT.CLIP.CROP_SHAPE, cfg.INPUT.CLIP.CROP_SHORT_SIDE = crop
    mapper = ClipDatasetMapper(cfg, is_train=True)
    clip = ClipAugInput(np.zeros((1, *size, 3), np.uint8))
    mapper.augmentations(clip)
    expected = clip.frames.shape[1:3]
    assert mapper.clip_size({"height": size[0], "width": size[1]}) == expected
    assert mapper.clip_size({"height": None}) == (0, 0)


def test_the_training_of_a_vit_sees_squares_and_whole_persons(cfg, key_frame):
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = (40, 44), "range"
    cfg.INPUT.CLIP.CROP_SHORT_SIDE, cfg.INPUT.CLIP.CROP_SHAPE = 36, "square"
    cfg.INPUT.CLIP.NUM_FRAMES, cfg.INPUT.RANDOM_FLIP = 2, "none"
    found = {}
    for share in (0.0, 0.75):
        cfg.INPUT.CLIP.MIN_BOX_SHARE = share
        np.random.seed(0)
        mapper = ClipDatasetMapper(cfg, is_train=True)
        assert mapper.min_decoded_side == 44
        found[share] = [mapper(key_frame) for _ in range(12)]
    assert {tuple(clip["clip"].shape) for clip in found[0.0]} == {(3, 2, 36, 36)}
    numbers = {
        share: [0 if clip is None else len(clip["instances"]) for clip in clips]
        for share, clips in found.items()
    }
    assert all(few <= many for few, many in zip(numbers[0.75], numbers[0.0]))
    assert sum(numbers[0.75]) < sum(numbers[0.0])


def test_published_pipeline_is_the_default(cfg):
    names = [type(a).__name__ for a in ClipDatasetMapper(cfg, is_train=True).augmentations.augs]
    assert names == [
        "ResizeShortSide",
        "RandomFlip",
        "RandomAspectPreservingCrop",
        "RandomHSVJitter",
    ]
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.CLIP.CROP_SHORT_SIDE = 0
    cfg.INPUT.CLIP.HSV_JITTER = (0, 0, 0)
    assert len(ClipDatasetMapper(cfg, is_train=True).augmentations.augs) == 1


def test_key_frames_in_seconds_have_no_tubes(key_frame):
    assert not make_mapper(True)(key_frame)["instances"].has("gt_tubes")
