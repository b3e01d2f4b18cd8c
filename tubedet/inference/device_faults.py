"""GPUs that stopped working, told apart from videos that cannot be processed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from tubedet.errors import UserError


class BrokenDeviceError(RuntimeError):
    """The device of this process fails whatever is asked of it, until the process ends."""


@contextlib.contextmanager
def device_faults_told_apart(
    device: str | torch.device, *, probe: Callable[[torch.device], None] | None = None
) -> Iterator[None]:
    """Name the device as what is at fault where it is, for work in the block that uses it.

    After some errors of CUDA, such as a failed assertion on the device, an illegal address or an
    uncorrectable error of its memory, all that follows in the process fails as well. So after
    an exception the device is given something small to do.

    Args:
        device: that of the work.
        probe: uses the device, and raises what the device reports; None: a small sum on a GPU, and
            nothing on a CPU.

    Raises:
        BrokenDeviceError: if the device works no more.
        UserError: if its memory is full; it can go on with something smaller.
    """
    device = torch.device(device)
    try:
        yield
    except Exception as error:
        if is_broken(device, probe=probe):
            raise BrokenDeviceError(f"{device} works no more: {_first_line(error)}") from error
        if isinstance(error, torch.OutOfMemoryError):
            raise UserError(
                f"the memory of {device} is full ({_first_line(error)}); a smaller --batch-size, "
                "--amp or a smaller INPUT.MIN_SIZE_TEST needs less"
            ) from error
        raise


def is_broken(
    device: str | torch.device, *, probe: Callable[[torch.device], None] | None = None
) -> bool:
    """Whether a device fails whatever this process asks of it.

    Args:
        device: which one.
        probe: see :func:`device_faults_told_apart`.
    """
    try:
        (probe or _probe)(torch.device(device))
    except torch.OutOfMemoryError:  # full, perhaps of other processes
        return False
    except RuntimeError:  # torch.AcceleratorError is one
        return True
    return False


def _probe(device: torch.device) -> None:
    if device.type == "cuda":
        torch.zeros(1, device=device).add_(1)
        torch.cuda.synchronize(device)


def _first_line(error: Exception) -> str:
    """Return what PyTorch says before its advice, which for memory follows on the same line."""
    lines = str(error).splitlines() or [type(error).__name__]
    return ". ".join(lines[0].split(". ")[:2]).removesuffix(".")
