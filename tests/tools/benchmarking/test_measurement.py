"""Summaries, versions and memory."""

import json
import os
import subprocess
import sys

import pytest
from benchmarking.measurement import environment, process_memory, summary


def test_summary():
    assert summary([3.0, 1.0, 2.0, 10.0]) == {
        "median": 2.5,
        "min": 1.0,
        "max": 10.0,
        "runs": [3.0, 1.0, 2.0, 10.0],
    }
    with pytest.raises(ValueError, match="no measurement"):
        summary([])


def test_environment_is_json_with_versions():
    versions = json.loads(json.dumps(environment()))
    for name in ("python", "torch", "numpy", "opencv", "pillow", "pyav", "libavcodec", "processor"):
        assert versions[name]


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs Linux's /proc")
def test_memory_of_a_process():
    script = "data = b'x' * (64 << 20); print(flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script], **pipes) as process:
        process.stdout.readline()
        memory = process_memory(process.pid)
        process.communicate(b"\n")
    assert 64 < memory["private_mb"] < 120
    assert memory["private_mb"] <= memory["peak_rss_mb"] < 200
    assert process_memory(process.pid) is None
