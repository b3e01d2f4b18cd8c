"""Rows of a profile and warnings as CUDA and PyTorch make them."""

import warnings

import torch
from benchmarking import gpu_counts
from benchmarking.gpu_counts import GPUCounts, counted, synchronisation_places, synchronisations

ROWS = [
    ("aten::addmm", 3, 0.0),
    ("void gemm<float>(int)", 3, 600.0),
    ("cudaLaunchKernel", 7, 0.0),
    ("cudaLaunchKernelExC", 2, 0.0),
    ("cuLaunchKernelEx", 4, 0.0),
    ("cudaGraphLaunch", 1, 0.0),
    ("cudaMemcpyAsync", 6, 0.0),
    ("Memcpy HtoD (Pinned -> Device)", 2, 150.0),
    ("Memcpy HtoD (Pageable -> Device)", 1, 50.0),
    ("Memcpy DtoH (Device -> Pageable)", 2, 20.0),
    ("Memcpy DtoD (Device -> Device)", 1, 30.0),
    ("Memset (Device)", 1, 10.0),
    ("cudaStreamSynchronize", 5, 0.0),
    ("cudaEventSynchronize", 1, 0.0),
    ("cudaDeviceSynchronize", 2, 0.0),
]


def test_rows_of_a_profile():
    found = counted(ROWS, {"matcher.py:60": 2})
    assert found == GPUCounts(
        launches=14,
        copies={"HtoD": 3, "DtoH": 2},
        gpu_s=860e-6,
        waits=6,
        synchronisations={"matcher.py:60": 2},
    )
    assert counted([], {}) == GPUCounts()


class Modes:
    """Stands for the mode of PyTorch's CUDA."""

    def __init__(self, monkeypatch):
        self.mode = 0
        monkeypatch.setattr(torch.cuda, "get_sync_debug_mode", lambda: self.mode)
        monkeypatch.setattr(
            torch.cuda, "set_sync_debug_mode", lambda mode: setattr(self, "mode", mode)
        )


def test_every_line_that_waits(monkeypatch):
    modes = Modes(monkeypatch)

    def wait(filename, lineno, message="called a synchronizing CUDA operation (Triggered ...)"):
        assert modes.mode == "warn"
        warnings.warn_explicit(message, UserWarning, filename, lineno)

    def step():
        wait("/a/losses.py", 83)
        for _ in range(3):
            wait("/a/matcher.py", 60)
        wait("/a/losses.py", 83, "something else")

    assert synchronisations(step) == {"matcher.py:60": 3, "losses.py:83": 1}
    assert modes.mode == 0
    assert synchronisation_places([]) == {}


def test_the_mode_is_as_before_after_an_error(monkeypatch):
    modes = Modes(monkeypatch)
    try:
        synchronisations(lambda: 1 / 0)
    except ZeroDivisionError:
        assert modes.mode == 0
    else:
        raise AssertionError("the error is hidden")


def test_a_step_runs_once_for_each_way_of_counting(monkeypatch):
    Modes(monkeypatch)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    runs = []

    class Row:
        key, count, self_device_time_total = "cudaLaunchKernel", 4, 9.0
        device_type = torch.autograd.DeviceType.CPU

    class Kernel(Row):
        key, device_type = "kernel", torch.autograd.DeviceType.CUDA

    class Profile:
        def __init__(self, activities):
            assert torch.profiler.ProfilerActivity.CUDA in activities

        def __enter__(self):
            runs.append("profile")
            return self

        def __exit__(self, *error):
            pass

        def key_averages(self):
            return [Row, Kernel]

    monkeypatch.setattr(gpu_counts, "profile", Profile)
    found = gpu_counts.count_on_gpu(lambda: runs.append("step"))
    assert runs == ["step", "profile", "step"]
    assert found == GPUCounts(launches=4, gpu_s=9e-6)
