"""Times of blocks and modules, and the machine's rate."""

import time

import pytest
import torch
from benchmarking.timing import Clock, CopyRate, MatrixRate, ModuleTimes, timed
from torch import nn

CPU = torch.device("cpu")


class Sleeps(nn.Module):
    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def forward(self):
        time.sleep(self.seconds)


class Model(nn.Module):
    """A backbone with a stage that has blocks, a part that is not called as a whole, heads."""

    def __init__(self):
        super().__init__()
        self.idle = Sleeps(9)
        self.backbone = Sleeps(0.01)
        self.backbone.csn = nn.Module()
        self.backbone.csn.res2 = Sleeps(0.02)
        self.backbone.csn.res2.block = Sleeps(0.01)
        self.transformer = nn.Module()
        self.transformer.encoder = Sleeps(0.03)
        self.neck = Sleeps(0.01)
        self.neck.inner = Sleeps(0.01)
        self.heads = nn.ModuleList([Sleeps(0.01), Sleeps(0.02)])
        self.backbone.register_forward_hook(lambda *_: self.backbone.csn.res2())
        self.backbone.csn.res2.register_forward_hook(lambda *_: self.backbone.csn.res2.block())
        self.neck.register_forward_hook(lambda *_: self.neck.inner())

    def forward(self):
        for module in (*self.heads, self.backbone, self.transformer.encoder, self.neck):
            module()


def test_sleep_takes_no_cpu_time():
    with timed(CPU) as slept:
        time.sleep(0.05)
    assert slept.wall_s >= 0.05 and slept.cpu_s < 0.04
    with timed(CPU) as computed:
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass
    assert computed.cpu_s >= 0.05 and computed.wall_s >= 0.04


def test_times_of_modules():
    model = Model()
    times = ModuleTimes(model, CPU)
    model()  # not recorded
    for _ in range(2):
        with times.recording() as recorded:
            model()
        assert list(recorded) == [
            "backbone",
            "backbone.csn.res2",
            "transformer.encoder",
            "neck",
            "heads",
        ]
        assert 0.03 <= recorded["backbone"].wall_s
        assert 0.02 <= recorded["backbone.csn.res2"].wall_s < recorded["backbone"].wall_s
        assert recorded["heads"].wall_s >= 0.03  # both of them
        assert recorded["heads"].cpu_s < 0.03


def test_rate_of_the_matrix_product(monkeypatch):
    rate = MatrixRate(64, CPU, torch.float64)
    clock = iter([10.0, 10.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    cpu_clock = iter([3.0, 3.25])
    monkeypatch.setattr(time, "process_time", lambda: next(cpu_clock))
    gflop = 2 * 64**3 / 1e9
    assert rate.measure() == pytest.approx({"wall": gflop / 0.5, "cpu": gflop / 0.25})


def test_rate_of_a_copy(monkeypatch):
    rate = CopyRate(1000, CPU)
    clock = iter([10.0, 10.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    assert rate.measure() == pytest.approx(2 * 1000 / 1e9 / 0.5)


def test_the_product_may_be_rounded_to_tf32(monkeypatch):
    matmul, seen = torch.backends.cuda.matmul, []
    before = matmul.fp32_precision
    monkeypatch.setattr(torch, "mm", lambda *_, out: seen.append(matmul.fp32_precision))
    for tf32 in (False, True):
        MatrixRate(8, CPU, torch.float32, tf32).measure()
    assert seen == ["ieee", "ieee", "tf32", "tf32"]
    assert matmul.fp32_precision == before


def test_the_clock_of_a_gpu_is_its_queue(monkeypatch):
    queue = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            queue.append(stream)
            self.time = 1500.0 * len(queue)

        def elapsed_time(self, end):
            assert queue[-1] == "waited"
            return end.time - self.time  # ms

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: queue.append("waited"))
    clock = Clock(torch.device("cuda", 1))
    start, end = clock.now(), clock.now()
    clock.wait()
    assert clock.seconds(start, end) == 1.5
    assert queue == ["stream of cuda:1", "stream of cuda:1", "waited"]
