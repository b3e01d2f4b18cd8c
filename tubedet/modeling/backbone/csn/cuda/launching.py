"""Where Triton kernels run, in which precision, and in how many programs."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging

import torch

from tubedet.layers import autocast_dtype, products_like_convolutions, without_autocast

logger = logging.getLogger(__name__)

# Programs that keep the multiprocessors of a large card (132 on an H100) busy, several on each.
MANY_PROGRAMS = 528


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
            "(TRITON_CACHE_DIR). MODEL.CSN.TRITON False turns this message off"
        )
        return False
    return True


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    """Return the precision in which a convolution of ``x`` would run, autocast considered.

    Args:
        x: input of the convolution.
    """
    dtype = None if x.dtype == torch.float64 else autocast_dtype(x.device)
    return dtype or x.dtype


def executing_part(x: torch.Tensor) -> contextlib.AbstractContextManager:
    """Give the context of a part: autocast is off, products are as precise as convolutions.

    Kernels run on the GPU of ``x``: Triton launches them on the current one.

    Args:
        x: an input of the part.
    """
    context = contextlib.ExitStack()
    context.enter_context(without_autocast(x.device))
    if x.device.type == "cuda":
        context.enter_context(torch.cuda.device(x.device))
        if x.dtype == torch.float32:
            context.enter_context(products_like_convolutions())
    return context


def weight_gradient(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return ``a @ b`` of two matrices in the precision of a weight, rounded once.

    Args:
        a: (M, N).
        b: (N, K).
        dtype: of the weight; float32 sums of half-precision products are not rounded to half.
    """
    if a.dtype == dtype:
        return a @ b
    if a.device.type == "cuda" and dtype == torch.float32:
        return torch.mm(a, b, out_dtype=dtype)
    return a.to(dtype) @ b.to(dtype)


def accumulator(dtype: torch.dtype):
    """Return the type in which kernels add up numbers of a type.

    Args:
        dtype: of the maps.
    """
    import triton.language as tl

    return tl.float64 if dtype == torch.float64 else tl.float32
