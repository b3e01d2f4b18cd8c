"""The kernels compile for GPUs that are not there, and what they hold fits into registers."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
TESTS = Path(__file__).parents[2]
_BACKEND = importlib.util.find_spec("triton.backends.nvidia")


@pytest.mark.skipif(
    _BACKEND is None or not Path(_BACKEND.origin or "").parent.joinpath("bin/ptxas").exists(),
    reason="this build of Triton has no compiler for NVIDIA GPUs",
)
def test_kernels_of_half_precision_hardly_spill(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    command = [sys.executable, TESTS / "compile_kernels.py", "bfloat16", "90"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    kernels = [line.split() for line in done.stdout.splitlines()]
    assert {name for name, _, _ in kernels} == {
        "frame_windows",
        "norm_relu_pool",
        "pool_gradient",
        "chunk_statistics",
        "finish_statistics",
        "norm_relu",
        "chunk_gradients",
        "finish_gradients",
        "rows_gradient",
        "depthwise",
        "depthwise_input_gradient",
        "depthwise_weight_gradient",
        "product_sum_relu",
        "read_points",
        "read_points_gradient",
    }
    # Bytes of a thread. The convolution is faster with them than with fewer numbers a program.
    most = {"depthwise": 192}
    spilling = [(name, stack) for name, _, stack in kernels if int(stack) > most.get(name, 0)]
    assert not spilling
