"""What is measured about a model that detects."""

import argparse

import pytest
import torch
from benchmarking import inference, variant_comparison
from benchmarking.measured_model import ModelRun

OPTS = ("MODEL.DEVICE", "cpu", "MODEL.TUBER.ENC_LAYERS", "1", "MODEL.TUBER.DEC_LAYERS", "1")
TOY = "configs/quick_schedules/TubeR_toy.yaml"


def parsed(*arguments):
    parser = argparse.ArgumentParser()
    parser.set_defaults(seed=0, repeats=2)
    inference.add_arguments(parser)
    return parser.parse_args(["--matrix-size", "64", *arguments])


@pytest.mark.parametrize("amp", [None, "bfloat16"])
def test_time_and_work_of_the_parts(amp):
    run = ModelRun(TOY, OPTS, "straightforward", (8, 48, 64), 2, seed=0, amp=amp, matrix_size=64)
    detection = inference.Detection(run)
    figures = detection.measure()
    assert list(figures["phases"]) == ["forward"]
    forward = figures["phases"]["forward"]["wall_s"]
    outer = [times["wall_s"] for name, times in figures["modules"].items() if "." not in name]
    assert 0 < sum(outer) < forward
    stages = [times for name, times in figures["modules"].items() if name.startswith("backbone.")]
    assert len(stages) == 5  # stem, res2 .. res5
    assert sum(t["wall_s"] for t in stages) < figures["modules"]["backbone"]["wall_s"]

    totals = detection.totals()
    gflop = totals["gflop"]
    assert gflop["phases"] == {"forward": gflop["run"]}
    assert totals["matrix_dtype"] == "float32"  # on the CPU, whatever the precision
    # The trunk, by hand: 3x7x7 kernels from 3 to 8 channels make 8 x 24 x 32 values of each clip.
    assert gflop["modules"]["backbone.stem"] == pytest.approx(2 * 2 * 441 * 8 * 8 * 24 * 32 / 1e9)
    names = ["stem", "res2", "res3", "res4", "res5"]
    in_stages = sum(gflop["modules"][f"backbone.{name}"] for name in names)
    assert in_stages == pytest.approx(gflop["modules"]["backbone"])
    assert gflop["modules"]["backbone"] < gflop["run"]


def test_given_boxes_are_as_many_as_asked_for(in_this_process):
    in_this_process(variant_comparison)
    config = "configs/quick_schedules/RoI_toy.yaml"
    given = ["--config-file", config, "--persons", "40", "--warmup", "0", "MODEL.DEVICE", "cpu"]
    cases = inference.run(parsed(*given))["cases"]
    assert [case["variant"] for case in cases] == ["published", "straightforward", "prepared"]
    # A linear layer from 256 channels to 80 actions for each box.
    expected = 2 * 40 * 256 * 80 / 1e9
    assert cases[0]["modules"]["action_head"]["gflop"] == pytest.approx(expected)


def test_every_config_and_variant_is_measured(in_this_process):
    in_this_process(variant_comparison)
    other = TOY.replace("TubeR", "Sparse")
    options = parsed("--config-file", TOY, "--config-file", other, "--warmup", "0", *OPTS)
    result = inference.run(options)
    assert [(case["config"], case["variant"]) for case in result["cases"]] == [
        (config, variant)
        for config in ("TubeR_toy", "Sparse_toy")
        for variant in ("published", "straightforward", "prepared")
    ]
    for case in result["cases"]:
        assert len(case["wall_s"]["runs"]) == 2 and case["roofline_share"] > 0
    # The same convolutions; what is done once instead of several times may be less.
    for straightforward, prepared in zip(result["cases"][1::3], result["cases"][2::3]):
        work = [case["modules"]["backbone"]["gflop"] for case in (straightforward, prepared)]
        assert work[1] == pytest.approx(work[0])
        assert 0.5 * straightforward["gflop"] < prepared["gflop"] <= straightforward["gflop"]
    published = result["cases"][0]
    assert published["opts"][4:6] == ["MODEL.CSN.EXECUTION", "modules"]
    assert published["counts"]["gbytes"] > 0.005 and published["bandwidth_share"] > 0
    # Pixels and masks become float32.
    assert 0 < published["counts"]["casts"] < 20 and published["gpu_counts"] is None
    text = inference.table(result)
    assert "prepared: times faster" in text and "Sparse_toy, modules" in text
    options = parsed("--config-file", TOY, "--variant", "prepared", "--warmup", "0", *OPTS)
    assert [case["variant"] for case in inference.run(options)["cases"]] == ["prepared"]


def test_clips_on_the_device_are_not_copied_there():
    counts = []
    for clips in ("host", "device"):
        opts = ("MODEL.TUBER.ENC_LAYERS", "1", "MODEL.TUBER.DEC_LAYERS", "1", "MODEL.DEVICE", "cpu")
        run = ModelRun(TOY, opts, "prepared", (8, 48, 64), 2, seed=0, matrix_size=64, clips=clips)
        detection = inference.Detection(run)
        assert {x["clip"].dtype for x in detection.batch} == {torch.uint8}
        counts.append(detection.totals()["counts"])
    assert counts[0] == counts[1] and counts[0]["device_copies"] == 0  # a CPU is its own device
