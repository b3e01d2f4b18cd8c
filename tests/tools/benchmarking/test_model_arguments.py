"""From the command line to what is run."""

import argparse

import pytest
from benchmarking.model_arguments import add_model_arguments, model_run

from tubedet.errors import UserError

TOY = "configs/quick_schedules/TubeR_toy.yaml"


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    parser.set_defaults(seed=7)
    add_model_arguments(parser, ("plain", "fast"))
    return parser.parse_args(["--config-file", TOY, *arguments])


def test_sizes_default_to_the_evaluation_of_the_config():
    options = parsed("--device", "cpu", "MODEL.NUM_ACTIONS", "9")
    run = model_run(options, TOY, "fast", opts=("INPUT.MIN_SIZE_TEST", 50))
    assert run.clip_size == (8, 50, 66) and run.batch_size == 1 and run.seed == 7
    cfg = run.load_config()
    assert (cfg.MODEL.NUM_ACTIONS, cfg.INPUT.MIN_SIZE_TEST, cfg.MODEL.DEVICE) == (9, 50, "cpu")
    assert run.clips == "host" and parsed("--clips", "device").clips == "device"
    run = model_run(options, TOY, "fast", clip_size=[4, 32, 40], batch_size=2)
    assert run.clip_size == (4, 32, 40) and run.batch_size == 2


def test_what_cannot_be_run():
    with pytest.raises(ValueError, match="must come in pairs, got MODEL.NUM_ACTIONS"):
        model_run(parsed("--threads", "1", "MODEL.NUM_ACTIONS"), TOY, "fast")
    with pytest.raises(ValueError, match="--amp float16 needs a GPU"):
        model_run(parsed("--amp", "float16", "--device", "cpu"), TOY, "fast")
    with pytest.raises(UserError, match="absent.yaml"):
        model_run(parsed(), "absent.yaml", "fast")
