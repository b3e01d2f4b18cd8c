"""The compared forms are what they are called."""

import pytest
import torch
from benchmarking.model_variants import (
    DETECTION_VARIANTS,
    TRAINING_VARIANTS,
    build_for_detection,
    build_for_training,
    chosen_variants,
)
from benchmarking.published_operators import gather_corners
from benchmarking.random_clips import random_batch

from tubedet.engine import load_config

TOY = "configs/quick_schedules/TubeR_toy.yaml"


def test_every_form_detects_the_same_and_the_prepared_one_with_fewer_modules():
    batch = random_batch(1, (8, 32, 40), num_actions=80)
    detections, sizes, num_layers = [], [], []
    for variant, keys in DETECTION_VARIANTS.items():
        torch.manual_seed(0)
        model = build_for_detection(load_config(TOY, ["MODEL.DEVICE", "cpu", *keys]), variant)
        assert not model.training
        head = model.action_head
        head.register_forward_pre_hook(lambda _, inputs: num_layers.append(len(inputs[0])))
        with torch.inference_mode():
            detections.append(model(batch)[0]["instances"].scores)
        sizes.append(len(list(model.modules())))
    for other in detections[1:]:
        torch.testing.assert_close(detections[0], other, rtol=0, atol=1e-4)
    assert len(set(sizes[2:])) == 1 and sizes[2] < sizes[1] == sizes[0]
    assert num_layers[0] > 1 and set(num_layers[1:]) == {1}


def test_the_published_class_query_detector_detects_the_same():
    batch = random_batch(1, (8, 32, 40), num_actions=80)
    models, detections = [], []
    for variant in ("published", "straightforward"):
        torch.manual_seed(0)
        cfg = load_config("configs/quick_schedules/ClassQuery_toy.yaml", ["MODEL.DEVICE", "cpu"])
        models.append(build_for_detection(cfg, variant))
        torch.manual_seed(1)
        torch.nn.init.normal_(models[-1].transformer.decoder.cls_norm2.weight, std=30.0)
        with torch.inference_mode():
            detections.append(models[-1](batch)[0]["instances"])
    attention = [model.transformer.encoder.layers[0].self_attn for model in models]
    assert attention[0].read is gather_corners and attention[0].chunk_size == 0
    assert attention[1].read is not gather_corners
    for name in ("scores", "action_scores"):
        one, two = (found.get(name) for found in detections)
        torch.testing.assert_close(one, two, rtol=0, atol=1e-5)
    scores = detections[0].action_scores
    assert scores.std() > 0.01 * scores.mean()


@pytest.mark.parametrize("variant", TRAINING_VARIANTS)
def test_training_variants_can_be_built(variant):
    opts = ["MODEL.DEVICE", "cpu", "MODEL.FREEZE", "['input_proj.*']", *TRAINING_VARIANTS[variant]]
    model = build_for_training(load_config(TOY, opts), variant)
    assert model.action_head.repeat_equal_work == (variant == "straightforward")
    assert model.training and not model.input_proj.weight.requires_grad


def test_what_only_gpus_tell_apart_is_measured_there():
    names = [*chosen_variants(TRAINING_VARIANTS, None, "cuda:1")]
    assert names == [*TRAINING_VARIANTS] and "triton" in names
    assert [*chosen_variants(TRAINING_VARIANTS, None, "cpu")] == [
        "straightforward",
        "fused",
        "checkpointed",
    ]
    assert chosen_variants(DETECTION_VARIANTS, ["triton"], "cpu") == {
        "triton": ("MODEL.CSN.TRITON", True, "MODEL.CUDA_GRAPHS", False)
    }
