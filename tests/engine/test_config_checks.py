"""Configs that cannot work."""

import pytest

from tubedet.engine import load_config, load_model
from tubedet.engine.config_checks import check_device, check_run_config
from tubedet.errors import UserError

TOY = "configs/quick_schedules/TubeR_toy.yaml"


def test_a_device_of_another_computer_is_refused():
    check_device("cpu")
    for device, message in (("gpu", "device 'gpu' is none"), ("cuda:99", "'cuda:99': no such GPU")):
        with pytest.raises(UserError, match=message):
            check_device(device)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("MODEL.META_ARCHITECTURE", "Tuber", "'Tuber', which does not exist; did you mean TubeR"),
        ("MODEL.BACKBONE.NAME", "nothing", "MODEL.BACKBONE.NAME is 'nothing', which does not"),
        ("MODEL.DEVICE", "banana", "MODEL.DEVICE: device 'banana' is none of PyTorch's"),
        ("MODEL.DEVICE", "meta", "MODEL.DEVICE: device 'meta': PyTorch finds none here"),
        ("MODEL.DEVICE", "hpu", "MODEL.DEVICE: device 'hpu': PyTorch finds none here"),
        ("MODEL.PIXEL_STD", [1.0], "MODEL.PIXEL_STD is .1.0.; give 3 numbers"),
        ("INPUT.MIN_SIZE_TEST", -3, "INPUT.MIN_SIZE_TEST is -3; give at least 1"),
        ("INPUT.CLIP.HSV_JITTER", (1,), "INPUT.CLIP.HSV_JITTER is .1,.; give 3 numbers"),
        ("SOLVER.MAX_ITER", -3, "SOLVER.MAX_ITER is -3; give at least 1"),
        ("SOLVER.BASE_LR", -1.0, "SOLVER.BASE_LR is -1.0; give at least 0"),
        ("SOLVER.BASE_LR", float("nan"), "SOLVER.BASE_LR is nan; give at least 0"),
        ("SOLVER.CHECKPOINT_PERIOD", 0, "SOLVER.CHECKPOINT_PERIOD is 0; give at least 1"),
        ("SOLVER.LR_FACTORS", ["backbone.*", 0.1], "SOLVER.LR_FACTORS has 'backbone"),
        ("SOLVER.LAYER_DECAY", 0.0, "SOLVER.LAYER_DECAY is 0.0; give a number above 0, at most 1"),
        ("SOLVER.LAYER_DECAY", 1.25, "SOLVER.LAYER_DECAY is 1.25; give a number above 0"),
        ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "max", "CLIP_TYPE is 'max'; choose one of"),
        ("TEST.EVAL_PERIOD", -1, "TEST.EVAL_PERIOD is -1; give at least 0"),
        ("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler", "SAMPLER_TRAIN is 'Repeat"),
        ("MODEL.DEVICE", "cuda:99", "MODEL.DEVICE: device 'cuda:99': no such GPU"),
        ("MODEL.TUBER.NUM_QUERIES", 0, "MODEL.TUBER.NUM_QUERIES is 0; give at least 1"),
        ("INPUT.CLIP.NUM_FRAMES", 0, "INPUT.CLIP.NUM_FRAMES is 0; give at least 1"),
        (
            "INPUT.CLIP.FRAME_SHIFT",
            40,
            "FRAME_SHIFT is 40: a clip has the frames 32 to 46, counted",
        ),
        ("INPUT.CLIP.FRAME_SHIFT", -7, "FRAME_SHIFT is -7: a clip has the frames -15 to -1,"),
        ("INPUT.CLIP.SPAN", -1, "INPUT.CLIP.SPAN is -1; give at least 0"),
        ("INPUT.CLIP.FPS", -1.0, "INPUT.CLIP.FPS is -1.0; give a positive number"),
        ("DATALOADER.NUM_WORKERS", -1, "DATALOADER.NUM_WORKERS is -1; give at least 0"),
        ("DATALOADER.SIZE_GROUPING", -1, "DATALOADER.SIZE_GROUPING is -1; give at least 0"),
        ("DATASETS.TRAIN", ("ava_toy_trian",), "no data set 'ava_toy_trian'; did you mean ava_toy"),
        ("DATASETS.TEST", ("nope",), "DATASETS.TEST: there is no data set 'nope'; a custom data"),
        ("DATASETS.TRAIN", (), "DATASETS.TRAIN is empty"),
        ("SOLVER.IMS_PER_BATCH", 0, "SOLVER.IMS_PER_BATCH is 0; give a multiple of the number"),
        ("SOLVER.IMS_PER_BATCH", 3, "is 3; give a multiple of the number of processes, 2"),
    ],
)
def test_what_cannot_be_run_is_named(key, value, message):
    cfg = load_config(TOY, ["MODEL.DEVICE", "cpu", "DATALOADER.NUM_WORKERS", 0])
    check_run_config(cfg, num_processes=2, eval_only=False)
    cfg.merge_from_list([key, value])
    with pytest.raises(UserError, match=message):
        check_run_config(cfg, num_processes=2, eval_only=False)


def test_recordings_do_not_draw_again_which_branches_clips_skip():
    opts = ["MODEL.DEVICE", "cpu", "MODEL.VIT.DROP_PATH", 0.2, "SOLVER.CUDA_GRAPHS", True]
    cfg = load_config(TOY, [*opts, "MODEL.VIT.CHECKPOINTING", True])
    check_run_config(cfg, num_processes=2, eval_only=False)
    cfg.MODEL.BACKBONE.NAME = "build_vit_pyramid_backbone"
    with pytest.raises(UserError, match="cannot draw the clips of MODEL.VIT.DROP_PATH 0.2 again"):
        check_run_config(cfg, num_processes=2, eval_only=False)


def test_an_evaluation_needs_nothing_of_a_training():
    cfg = load_config(TOY, ["MODEL.DEVICE", "cpu", "DATASETS.TRAIN", (), "SOLVER.IMS_PER_BATCH", 0])
    with pytest.raises(UserError, match="DATASETS.TRAIN is empty"):
        check_run_config(cfg, num_processes=2, eval_only=False)
    check_run_config(cfg, num_processes=2, eval_only=True)


def test_a_model_of_such_a_config_is_not_built():
    cfg = load_config(TOY, ["MODEL.DEVICE", "cpu", "MODEL.META_ARCHITECTURE", "TubeRR"])
    with pytest.raises(UserError, match="MODEL.META_ARCHITECTURE is 'TubeRR'"):
        load_model(cfg)


@pytest.mark.parametrize(
    "opts, message",
    [
        (["TEST.BATCH_SIZE", 0], "TEST.BATCH_SIZE is 0; give at least 1"),
        (["TEST.AMP", "float32"], "TEST.AMP is 'float32'; choose one of"),
        (["TEST.AMP", "float16"], "TEST.AMP float16 needs a GPU"),
    ],
)
def test_options_of_evaluation_are_checked_before_any_work(opts, message):
    cfg = load_config("", ["MODEL.DEVICE", "cpu", "DATASETS.TEST", (), *opts])
    with pytest.raises(UserError, match=message):
        check_run_config(cfg, num_processes=1, eval_only=True)
