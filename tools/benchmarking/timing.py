"""Wall and CPU time of blocks, of the modules of a model, and of a large matrix product."""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch._dynamo import OptimizedModule

from tubedet.layers import products_like_convolutions, without_tf32
from tubedet.modeling.backbone.csn.csn import STAGES


@dataclass
class Timing:
    """Time a block took.

    Attributes:
        wall_s: Seconds that passed; on a GPU those between two events in its queue.
        cpu_s: Seconds that the threads of this process computed. On a busy machine they grow less
            than the others.
    """

    wall_s: float = 0.0
    cpu_s: float = 0.0


@contextlib.contextmanager
def timed(device: torch.device) -> Iterator[Timing]:
    """Time the block of a ``with`` statement.

    Args:
        device: If it is a GPU, what is queued on it before and in the block is waited for.

    Yields:
        Timing: filled when the block ends.
    """
    timing = Timing()
    clock = Clock(device)
    clock.wait()
    start = clock.now()
    yield timing
    end = clock.now()
    clock.wait()
    timing.wall_s = clock.seconds(start, end)
    timing.cpu_s = end[1] - start[1]


class Clock:
    """Moments of a device: on a GPU, those in which its queue comes to an event.

    Args:
        device: Whose time it is.
    """

    def __init__(self, device: torch.device):
        self._device = device if device.type == "cuda" else None

    def now(self) -> tuple:
        """Return the moment, and the CPU time of this process."""
        if self._device is None:
            return time.perf_counter(), time.process_time()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event, time.process_time()

    def wait(self) -> None:
        """Wait until a GPU has done what is in its queue."""
        if self._device is not None:
            torch.cuda.synchronize(self._device)

    def seconds(self, start: tuple, end: tuple) -> float:
        """Seconds between two moments, after which :meth:`wait` was called."""
        if self._device is None:
            return end[0] - start[0]
        return start[0].elapsed_time(end[0]) / 1000


class MatrixRate:
    """The rate of a large product of square matrices: what the machine can do at best.

    Args:
        size: Rows and columns.
        device, dtype: Where, and in which precision.
        tf32: Whether float32 may be rounded to TF32 on a GPU.
    """

    def __init__(self, size: int, device: torch.device, dtype: torch.dtype, tf32: bool = False):
        self._device = device
        self._precision = products_like_convolutions if tf32 else without_tf32
        self._factors = [torch.rand(size, size, device=device).to(dtype) for _ in range(2)]
        self._product = torch.empty_like(self._factors[0])
        self._gflop = 2 * size**3 / 1e9
        self.measure()  # libraries start

    def measure(self) -> dict[str, float]:
        """Multiply once; return ``wall`` and ``cpu``, GFLOP per second of either time."""
        with self._precision(), timed(self._device) as timing:
            torch.mm(*self._factors, out=self._product)
        return {"wall": self._gflop / timing.wall_s, "cpu": self._gflop / max(timing.cpu_s, 1e-9)}


class CopyRate:
    """The rate at which a large array is copied within the memory of a device.

    Args:
        num_bytes: Of the array.
        device: Where it is.
    """

    def __init__(self, num_bytes: int, device: torch.device):
        self._device = device
        self._source = torch.zeros(num_bytes, dtype=torch.uint8, device=device)
        self._copy = torch.empty_like(self._source)
        self.measure()  # memory is handed out when it is written

    def measure(self) -> float:
        """Copy once; return 1e9 bytes, read and written ones, per second."""
        with timed(self._device) as timing:
            self._copy.copy_(self._source)
        return 2 * len(self._copy) / 1e9 / timing.wall_s


class ModuleTimes:
    """Times the calls of a model's modules.

    These are the model's children, the stages of its backbone, and the children of a child that is
    not called as a whole. The members of a list of modules count together, under its name.

    Args:
        model: Gets hooks, which do nothing but inside of :meth:`recording`.
        device: That of the model. On a GPU the times are those between events in its queue.
    """

    def __init__(self, model: nn.Module, device: torch.device):
        self._clock = Clock(device)
        self._active = False
        self._starts: dict[nn.Module, tuple] = {}
        self._spans: dict[str, list[tuple]] = defaultdict(list)
        self._names: dict[str, None] = {}  # in the order of the model
        for name, module in _timed_modules(model):
            self._names[name] = None
            module.register_forward_pre_hook(lambda module, _: self._start(module))
            module.register_forward_hook(lambda module, _, __, name=name: self._end(name, module))

    @contextlib.contextmanager
    def recording(self) -> Iterator[dict[str, Timing]]:
        """Record the calls in the block of a ``with`` statement.

        Yields:
            dict[str, Timing]: by name of the module, filled when the block ends; modules that were
            not called are missing.
        """
        times: dict[str, Timing] = {}
        self._spans.clear()
        self._active = True
        try:
            yield times
        finally:
            self._active = False
        self._clock.wait()
        for name in self._names:
            spans, parent = self._spans.get(name), name.rpartition(".")[0]
            if spans is None or (parent in self._spans and not name.startswith("backbone.")):
                continue
            times[name] = Timing(
                sum(self._clock.seconds(start, end) for start, end in spans),
                sum(end[1] - start[1] for start, end in spans),
            )

    def _start(self, module: nn.Module) -> None:
        if self._active:
            self._starts[module] = self._clock.now()

    def _end(self, name: str, module: nn.Module) -> None:
        if self._active:
            self._spans[name].append((self._starts.pop(module), self._clock.now()))


def _timed_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in model.named_children():
        if isinstance(child, (nn.ModuleList, nn.ModuleDict)):
            yield from ((name, member) for member in child.children())
            continue
        yield name, child
        if isinstance(child, OptimizedModule):
            continue  # hooks inside would be compiled too, or break it
        if name == "backbone":
            for inner_name, inner in child.named_modules(prefix=name):
                if inner_name.rpartition(".")[2] in ("stem", *STAGES):
                    yield inner_name, inner
        else:
            for inner_name, inner in child.named_children():
                yield f"{name}.{inner_name}", inner
