"""The compared forms are what they are called."""

import pytest
import torch
from benchmarking.model_variants import (
    DETECTION_VARIANTS,
    TRAINING_VARIANTS,
    build_for_detection,
    build_for_training,
)
from benchmarking.random_clips import random_batch

from tubedet.engine import load_config

TOY = "configs/quick_schedules/TubeR_toy.yaml"


def test_every_form_detects_the_same_and_the_prepared_one_with_fewer_modules():
    batch = random_batch(1, (8, 32, 40), num_actions=80)
    detections, sizes, num_layers = [], [], []
    for variant in DETECTION_VARIANTS:
        torch.manual_seed(0)
        model = build_for_detection(load_config(TOY, ["MODEL.DEVICE", "cpu"]), variant)
        assert not model.training
        head = model.action_head
        head.register_forward_pre_hook(lambda _, inputs: num_layers.append(len(inputs[0])))
        with torch.inference_mode():
            detections.append(model(batch)[0]["instances"].scores)
        sizes.append(len(list(model.modules())))
    for other in detections[1:]:
        torch.testing.assert_close(detections[0], other, rtol=0, atol=1e-4)
    assert sizes[2] < sizes[1] == sizes[0]
    assert num_layers[0] > 1 == num_layers[1] == num_layers[2]


@pytest.mark.parametrize("variant", TRAINING_VARIANTS)
def test_training_variants_can_be_built(variant):
    opts = ["MODEL.DEVICE", "cpu", "MODEL.FREEZE", "['input_proj.*']", *TRAINING_VARIANTS[variant]]
    model = build_for_training(load_config(TOY, opts), variant)
    assert model.action_head.repeat_equal_work == (variant == "straightforward")
    assert model.training and not model.input_proj.weight.requires_grad
