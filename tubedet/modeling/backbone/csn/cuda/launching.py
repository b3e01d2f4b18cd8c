"""In which precision the kernels of a CSN run, and in how many programs."""

from __future__ import annotations

import contextlib

import torch

from tubedet.layers import autocast_dtype, products_like_convolutions, without_autocast

# Programs that keep the multiprocessors of a large card (132 on an H100) busy, several on each.
MANY_PROGRAMS = 528


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
