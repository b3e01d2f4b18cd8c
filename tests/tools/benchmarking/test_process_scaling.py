"""Throughput of several training processes."""

import argparse

import pytest
from benchmarking import process_scaling
from benchmarking.measured_model import ModelRun

TOY = "configs/quick_schedules/TubeR_toy.yaml"
OPTS = ("MODEL.DEVICE", "cpu", "MODEL.TUBER.ENC_LAYERS", "1", "MODEL.TUBER.DEC_LAYERS", "1")


def test_two_processes_train(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # what it is set to, undone after the test
    run = ModelRun(TOY, OPTS, "fused", (8, 32, 32), 2, seed=0)
    figures = process_scaling.TrainingInProcesses(run, 2, 1, on_cpu=True).measure(1, 2)
    assert figures["clips_per_second"] > 0
    assert figures["peak_growth_mb"] > 1
    # Both of them compute: at most two cores' time for each clip.
    assert 0 < figures["cpu_s_per_clip"] <= 2.1 / figures["clips_per_second"]


def test_ratio_to_one_process(in_this_process, monkeypatch):
    calls = in_this_process(process_scaling)

    class Known:
        def __init__(self, run, num_processes, threads, on_cpu):
            self.number = num_processes

        def measure(self, warmup, iterations):
            assert (warmup, iterations) == (1, 4)
            return {"clips_per_second": 1.75 * self.number, "cpu_s_per_clip": 0.5}

    monkeypatch.setattr(process_scaling, "TrainingInProcesses", Known)
    parser = argparse.ArgumentParser()
    parser.set_defaults(seed=0, repeats=2)
    process_scaling.add_arguments(parser)
    arguments = ["--iterations", "4", "--processes", "1", "2"]
    options = parser.parse_args(["--config-file", TOY, *arguments])
    result = process_scaling.run(options)
    assert [process.measured.number for process, _ in calls] == [1, 2, 1, 2]
    assert [case["ratio"] for case in result["cases"]] == [1, pytest.approx(2)]
    assert "| TubeR_toy | 2           | 3.5 (3.5-3.5)" in process_scaling.table(result)
    without_config = process_scaling.run(parser.parse_args(arguments))
    assert {case["config"] for case in without_config["cases"]} == {"a small TubeR"}
