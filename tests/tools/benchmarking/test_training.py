"""What is measured about a model that trains."""

import argparse

import pytest
from benchmarking import training, variant_comparison
from benchmarking.measured_model import ModelRun

TOY = "configs/quick_schedules/TubeR_toy.yaml"
OPTS = ["MODEL.DEVICE", "cpu", "MODEL.TUBER.ENC_LAYERS", "1", "MODEL.TUBER.DEC_LAYERS", "1"]


@pytest.mark.parametrize("with_step", [False, True])
def test_phases_of_an_iteration(in_this_process, with_step):
    in_this_process(variant_comparison)
    parser = argparse.ArgumentParser()
    parser.set_defaults(seed=0, repeats=1)
    training.add_arguments(parser)
    arguments = ["--config-file", TOY, "--matrix-size", "64", "--variant", "fused"]
    arguments += ["--variant", "straightforward", *(["--optimizer-step"] if with_step else [])]
    result = training.run(parser.parse_args([*arguments, *OPTS]))
    straightforward, optimised = result["cases"]
    assert [straightforward["variant"], optimised["variant"]] == ["straightforward", "fused"]
    phases = ["forward", "backward"] + (["step"] if with_step else [])
    for case in result["cases"]:
        assert list(case["phases"]) == phases
        wall = sum(phase["wall_s"]["median"] for phase in case["phases"].values())
        assert case["wall_s"]["median"] == pytest.approx(wall)
        assert {"backbone", "backbone.res5", "criterion"} <= set(case["modules"])
    # Gradients with respect to weights and inputs, but not with respect to the clip.
    work = {name: phase["gflop"] for name, phase in straightforward["phases"].items()}
    assert 1.8 * work["forward"] < work["backward"] <= 2.3 * work["forward"]


def test_training_changes_the_weights_only_with_the_step():
    for measured, changes in ((training.Training, False), (training.TrainingWithStep, True)):
        run = ModelRun(TOY, tuple(OPTS), "fused", (8, 48, 64), 1, seed=0, matrix_size=64)
        model = measured(run)
        assert model.model.training
        weight = model.model.input_proj.weight
        before = weight.detach().clone()
        model.measure()
        assert weight.grad.any()
        assert (weight != before).any().item() == changes
