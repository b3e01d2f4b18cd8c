"""Turns, shares and ratios, from figures that are known."""

from dataclasses import asdict, replace

import pytest
from benchmarking import variant_comparison
from benchmarking.gpu_counts import GPUCounts
from benchmarking.measured_model import ModelRun
from benchmarking.operator_counts import Counts
from benchmarking.variant_comparison import measure_in_turns, tables

RUN = ModelRun("configs/X.yaml", (), "slow", (8, 48, 64), 1, seed=0)

ON_GPU = GPUCounts(50, {"HtoD": 2, "DtoH": 1}, 0.25, 4, {"a.py:1": 3, "b.py:2": 1})


class Known:
    """10 GFLOP in 2, 4, 6, ... s, half of it in the backbone; "fast" needs half the time."""

    def __init__(self, run):
        self.fast = run.variant == "fast"
        self.count = 0

    def measure(self):
        self.count += 1
        seconds = self.count if self.fast else 2 * self.count
        times = {"wall_s": seconds, "cpu_s": seconds / 2}
        return {
            "matrix_gflop_per_s": {"wall": 10.0 * self.count, "cpu": 40.0},
            "copy_gb_per_s": 5.0 * self.count,
            "phases": {"forward": times, "backward": times},
            "modules": {"backbone": times, "heads": times},
        }

    def totals(self):
        modules = {"": 4, "backbone": 2, "heads.0": 0.5, "heads.1": 0.25, "heads.1.fc": 0.25}
        return {
            "peak_growth_mb": {"process": 30 if self.fast else 120, "cuda": None},
            "matrix_dtype": "float32",
            "gflop": {"run": 10, "phases": {"forward": 4, "backward": 6}, "modules": modules},
            "counts": asdict(Counts(operators=80, casts=7, waits=3, gbytes=9.0)),
            "gpu_counts": asdict(ON_GPU),
        }


@pytest.fixture
def cases(in_this_process):
    calls = in_this_process(variant_comparison)
    runs = [RUN, replace(RUN, variant="fast")]
    cases = measure_in_turns(Known, runs, repeats=3, warmup=1, threads=1)
    order = [process.measured.fast for process, method in calls if method == "measure"]
    assert order == [False, True] + 3 * [False, True]
    return cases


def test_figures(cases):
    slow, fast = cases
    assert slow["config"] == "X" and slow["variant"] == "slow"
    # Repetitions 2, 3 and 4 are timed; a run has two phases.
    assert slow["wall_s"]["runs"] == [8, 12, 16] and fast["wall_s"]["median"] == 6
    assert slow["cpu_s"]["median"] == 6
    assert slow["gflop_per_s"] == pytest.approx(10 / 12)
    rates = {"dtype": "float32", "median": 30, "best": 40, "per_cpu_second": 40}
    assert slow["matrix_gflop_per_s"] == rates
    assert slow["roofline_share"] == pytest.approx(10 / 30 / 12)
    assert slow["roofline_share_of_cpu_time"] == pytest.approx(10 / 40 / 6)
    assert slow["phases"]["backward"]["roofline_share"] == pytest.approx(6 / 30 / 6)
    assert slow["modules"]["backbone"]["roofline_share"] == pytest.approx(2 / 30 / 6)
    assert slow["modules"]["heads"]["gflop"] == 0.75  # of the members of the list
    assert slow["peak_growth_mb"]["process"] == 120
    # Repetitions 2, 3 and 4 copy 10, 15 and 20 GB/s.
    assert slow["copy_gb_per_s"] == 15 and slow["counts"]["casts"] == 7
    assert slow["bandwidth_share"] == pytest.approx(9 / 15 / 12)
    assert fast["gpu_counts"]["launches"] == 50


def test_tables(cases):
    text = tables(cases)
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    assert [row for row in rows if row[1:3] == ["X", "12"]] == [
        ["", "X", "12", "6", "2.00", "2.00", "25%", ""]
    ]
    assert ["", "backbone", "2", "6", "1%", "3", "2%", ""] in rows
    assert ["", "(backward)", "6", "6", "3%", "3", "7%", ""] in rows
    counted = ["80", "7", "3", "9", "15"]
    on_gpu = ["50", "250", "2 HtoD 1 DtoH", "4", "4: a.py:1 3, b.py:2 1"]
    assert ["", "X", "slow", *counted, "5%", *on_gpu, ""] in rows
    assert ["", "X", "fast", *counted, "10%", *on_gpu, ""] in rows
    assert "launches" not in tables([{**case, "gpu_counts": None} for case in cases])
    assert "times faster" not in tables(cases[:1])
