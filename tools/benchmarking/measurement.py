"""What every measurement reports: median and spread, software versions, memory of processes."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import PIL
import torch


def summary(values: Sequence[float]) -> dict:
    """Median and spread of repeated measurements.

    Args:
        values: One number per repetition, at least one.

    Returns:
        dict: ``median``, ``min``, ``max`` and ``runs``, the numbers themselves.

    Raises:
        ValueError: There is no number.
    """
    if not values:
        raise ValueError("no measurement to summarise")
    return {
        "median": float(np.median(values)),
        "min": float(min(values)),
        "max": float(max(values)),
        "runs": [float(value) for value in values],
    }


def environment() -> dict:
    """Versions and machine that the figures belong to.

    Returns:
        dict: versions of Python, the packages that do the work and FFmpeg's codec library; the
        processor, its cores, those this process may use, and the load before the measurement; the
        GPU, if there is one.
    """
    codec_version = av.library_versions.get("libavcodec", ())
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pillow": PIL.__version__,
        "pyav": av.__version__,
        "libavcodec": ".".join(map(str, codec_version)),
        "platform": platform.platform(),
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cuda": torch.version.cuda,
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def process_memory(pid: int) -> dict[str, float] | None:
    """Memory of a process.

    Args:
        pid: Id of a running process.

    Returns:
        dict: ``private_mb``, what ending the process would set free (pages shared with a parent or
        with shared libraries are not in it), and ``peak_rss_mb``, the most it ever held with shared
        pages, in 2**20 bytes. None where the system does not tell (it is Linux's /proc).
    """
    folder = Path(f"/proc/{pid}")
    try:
        pages = (folder / "smaps_rollup").read_text()
        status = (folder / "status").read_text()
    except OSError:
        return None
    private = re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+) kB", pages, re.MULTILINE)
    peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    if not private or peak is None:
        return None
    return {"private_mb": sum(map(int, private)) / 1024, "peak_rss_mb": int(peak[1]) / 1024}


def _processor_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return name[1] if name else platform.processor()
