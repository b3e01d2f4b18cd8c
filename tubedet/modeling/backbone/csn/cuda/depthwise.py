"""Depthwise 3x3x3 convolution of maps (B, T, H, W, C) on GPUs, forward and backward."""

from __future__ import annotations

import torch

from tubedet.layers.cuda.availability import accumulator
from tubedet.layers.cuda.grid_sizes import ceil_div, next_power_of_2

from . import depthwise_kernels as kernels
from .launching import MANY_PROGRAMS
from .row_norm import AppliedNorm

# Numbers of the output of a frame that a program works on at a time; what was fastest on an H100.
_BLOCK_NUMBERS = 2048
_BLOCK_NUMBERS_OF_STRIDES = 1024
_BLOCK_NUMBERS_OF_WEIGHTS = 1024


def taps_by_channel(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the weight (C, 1, 3, 3, 3) as the kernels want it, (27, C).

    Args:
        weight: of a depthwise convolution.
        dtype: of the result.
    """
    taps = weight.new_empty((27, len(weight)), dtype=dtype)
    return taps.copy_(weight.flatten(1).t())


def depthwise(
    maps: torch.Tensor,
    taps: torch.Tensor,
    stride: tuple[int, ...],
    *,
    norm: AppliedNorm | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Convolve, with padding 1.

    Args:
        maps: (B, T, H, W, C).
        taps: (27, C), see :func:`taps_by_channel`.
        stride: (time, row, column).
        norm: what is convolved is the ReLU of the maps after this norm.
        bias: (C,), is added, and the ReLU taken.

    Returns:
        (B, T', H', W', C), every side n becoming ceil(n / stride).
    """
    batch, *sides, channels = maps.shape
    out_sides = [ceil_div(side, step) for side, step in zip(sides, stride)]
    out = maps.new_empty(batch, *out_sides, channels)
    numbers = _BLOCK_NUMBERS if stride[0] == 1 else _BLOCK_NUMBERS_OF_STRIDES
    block_places, block_channels = _blocks(out_sides[1] * out_sides[2], channels, numbers)
    places = batch * ceil_div(out_sides[1] * out_sides[2], block_places)
    columns = ceil_div(channels, block_channels)
    # Each part of the frames reads one more at either end, so there are as few as keep a GPU busy.
    wanted_parts = ceil_div(MANY_PROGRAMS, places * columns)
    frames = max(min(4, out_sides[0]), ceil_div(out_sides[0], wanted_parts))
    kernels.depthwise[(places, columns, ceil_div(out_sides[0], frames))](
        *(maps, taps, taps if norm is None else norm.values, taps if bias is None else bias, out),
        *(*sides, *out_sides, channels, frames, *stride),
        *(norm is not None, bias is not None, accumulator(maps.dtype)),
        *(block_places, block_channels),
    )
    return out


def depthwise_input_gradient(
    grad: torch.Tensor,
    taps: torch.Tensor,
    stride: tuple[int, ...],
    sides: tuple[int, ...],
) -> torch.Tensor:
    """Return the gradient of the maps that were convolved.

    Args:
        grad: of the output, (B, T', H', W', C).
        taps: (27, C).
        stride: (time, row, column).
        sides: T, H and W of the maps.
    """
    if tuple(stride) == (1, 1, 1):
        return depthwise(grad, taps.flip(0), stride)
    batch, *out_sides, channels = grad.shape
    d_maps = grad.new_empty(batch, *sides, channels)
    block_places, block_channels = _blocks(sides[1] * sides[2], channels, _BLOCK_NUMBERS_OF_STRIDES)
    places = batch * ceil_div(sides[1] * sides[2], block_places)
    kernels.depthwise_input_gradient[(places, ceil_div(channels, block_channels), sides[0])](
        *(grad, taps, d_maps, *sides, *out_sides, channels, *stride),
        *(accumulator(grad.dtype), block_places, block_channels),
    )
    return d_maps


def depthwise_weight_gradient(
    grad: torch.Tensor,
    maps: torch.Tensor,
    stride: tuple[int, ...],
    *,
    norm: AppliedNorm | None = None,
) -> torch.Tensor:
    """Return the gradient of the weight, (C, 1, 3, 3, 3), in float32 at least.

    Args:
        grad: of the output, (B, T', H', W', C).
        maps: (B, T, H, W, C).
        stride: (time, row, column).
        norm: what was convolved is the ReLU of the maps after this norm.
    """
    batch, *out_sides, channels = grad.shape
    num_places = out_sides[1] * out_sides[2]
    block_places, block_channels = _blocks(num_places, channels, _BLOCK_NUMBERS_OF_WEIGHTS)
    columns = ceil_div(channels, block_channels)
    blocks = batch * ceil_div(num_places, block_places)
    blocks_per_program = ceil_div(blocks, ceil_div(MANY_PROGRAMS, 3 * columns))
    programs = ceil_div(blocks, blocks_per_program)
    kind = torch.promote_types(maps.dtype, torch.float32)
    parts = maps.new_empty((programs, 27, channels), dtype=kind)
    kernels.depthwise_weight_gradient[(3, programs, columns)](
        *(maps, grad, parts if norm is None else norm.values, parts, *maps.shape[1:4]),
        *(*out_sides, channels, blocks_per_program, blocks, *stride),
        *(norm is not None, accumulator(maps.dtype), block_places, block_channels),
    )
    return parts.sum(0).t().reshape(channels, 1, 3, 3, 3)


def _blocks(num_places: int, channels: int, numbers: int) -> tuple[int, int]:
    """Places and channels that a program works on at a time."""
    block_channels = min(64, max(8, next_power_of_2(channels)))
    return min(numbers // block_channels, max(8, next_power_of_2(num_places))), block_channels
