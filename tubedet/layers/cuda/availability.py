"""Where Triton kernels run."""

from __future__ import annotations

import functools
import importlib.util
import logging

import torch

logger = logging.getLogger(__name__)


@functools.cache
def has_triton() -> bool:
    """Whether Triton is installed; PyTorch brings it along on Linux."""
    return importlib.util.find_spec("triton") is not None


def runs_kernels(x: torch.Tensor) -> bool:
    """Whether the kernels run where a tensor is: on NVIDIA GPUs, where Triton is installed.

    Args:
        x: any tensor.
    """
    if x.device.type != "cuda" or torch.version.hip is not None or not has_triton():
        return False
    return not torch.compiler.is_compiling() and _is_known_to_triton(x.device)


@functools.cache
def _is_known_to_triton(device: torch.device) -> bool:
    if torch.cuda.get_device_capability(device) < (8, 0):  # older cards spill
        return False
    from .trial_kernel import launch_trial

    try:
        launch_trial(device)
    except Exception as error:  # of many kinds: no compiler, no room for what it writes, ...
        reason = str(error).strip().partition("\n")[0]
        logger.warning(
            f"Triton compiles no kernels here ({type(error).__name__}: {reason}), so PyTorch's "
            "slower ones are used; it needs a C compiler such as gcc, and a folder to write to "
            "(TRITON_CACHE_DIR). With MODEL.CSN.TRITON and MODEL.DEFORMABLE_TRITON False this "
            "message does not appear"
        )
        return False
    return True


def accumulator(dtype: torch.dtype):
    """Return the type in which kernels add up numbers of a type.

    Args:
        dtype: of the maps.
    """
    import triton.language as tl

    return tl.float64 if dtype == torch.float64 else tl.float32
