"""What a step asks of a GPU, as CUDA and PyTorch report it: launches, copies and waits."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

_WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize")  # the profiler itself waits for devices
_LAUNCHES = ("cudaLaunch", "cuLaunch", "cudaGraphLaunch")
_MESSAGE = "called a synchronizing CUDA operation"


@dataclass(frozen=True)
class GPUCounts:
    """Sums over a step.

    Attributes:
        launches: of kernels, and of graphs of them.
        copies: between the host and the GPU, by direction: "HtoD", "DtoH".
        gpu_s: seconds in which kernels and copies ran; those that overlap count both.
        waits: times that the CPU waited for the GPU according to CUDA.
        synchronisations: by ``file:line``, the waits of operators that PyTorch warns of. It knows
            of some that CUDA does not call so, and the other way round.
    """

    launches: int = 0
    copies: dict[str, int] = field(default_factory=dict)
    gpu_s: float = 0.0
    waits: int = 0
    synchronisations: dict[str, int] = field(default_factory=dict)


def count_on_gpu(step: Callable[[], None]) -> GPUCounts:
    """Count in two runs of a step; the first one has to be over, because it prepares things.

    Args:
        step: runs on the current GPU.
    """
    torch.cuda.synchronize()
    places = synchronisations(step)
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
        step()
        torch.cuda.synchronize()
    rows = [
        # Operators have the time of their kernels, too, which have rows of their own.
        (x.key, x.count, x.self_device_time_total if x.device_type == DeviceType.CUDA else 0.0)
        for x in profiled.key_averages()
    ]
    return counted(rows, places)


def synchronisations(step: Callable[[], None]) -> dict[str, int]:
    """Run a step; return how often which line let the CPU wait for the GPU, most often first."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    return synchronisation_places(caught)


def synchronisation_places(caught: Iterable[warnings.WarningMessage]) -> dict[str, int]:
    """Return the places, ``file:line``, of those warnings that tell of a wait."""
    places = Counter(
        f"{Path(warning.filename).name}:{warning.lineno}"
        for warning in caught
        if _MESSAGE in str(warning.message)
    )
    return dict(places.most_common())


def counted(rows: Iterable[tuple[str, int, float]], places: dict[str, int]) -> GPUCounts:
    """Sort the rows of a profile.

    Args:
        rows: name, count and microseconds on the GPU of everything that was recorded; an operator
            has none, its kernels have.
        places: see :func:`synchronisation_places`.
    """
    launches, waits, gpu_us = 0, 0, 0.0
    copies: Counter[str] = Counter()
    for name, count, device_us in rows:
        if name.startswith(_LAUNCHES):
            launches += count
        elif name in _WAITS:
            waits += count
        elif name.startswith("Memcpy"):  # such as "Memcpy HtoD (Pinned -> Device)"
            direction = name.split()[1]
            if direction != "DtoD":
                copies[direction] += count
        gpu_us += device_us
    return GPUCounts(launches, dict(copies), gpu_us / 1e6, waits, places)
