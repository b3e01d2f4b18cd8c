"""The stem of a CSN on GPUs, step by step: windows, convolution, norm, ReLU and pooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tubedet.layers.cuda.availability import accumulator
from tubedet.layers.cuda.grid_sizes import ceil_div, next_power_of_2

from . import stem_kernels as kernels
from .row_norm import AppliedNorm

# Tensor cores take sixteen channels at a time; nine hold the colours of three frames.
WINDOW_CHANNELS = 16
_BLOCK_NUMBERS = 2048
STRIDE, PADDING = (2, 2), (3, 3)


def frame_windows(clips: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """For each frame, its colours and those of its two neighbours as channels.

    With these a convolution over three frames is a 2-D one. Beyond the ends, frames are zero.

    Args:
        clips: (B, 3, T, H, W).
        dtype: of the result.

    Returns:
        (B * T, 16, H, W), channels last; time is the outer of the nine first, the rest is zero.
    """
    clips = clips.contiguous()
    batch, _, num_frames, height, width = clips.shape
    windows = clips.new_empty((batch * num_frames, height, width, WINDOW_CHANNELS), dtype=dtype)
    block = 256
    kernels.frame_windows[(ceil_div(height * width, block), num_frames, batch)](
        clips, windows, num_frames, height * width, block, WINDOW_CHANNELS
    )
    return windows.permute(0, 3, 1, 2)


def window_weight(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the weight (C, 3, 3, 7, 7) of the stem for :func:`frame_windows`, (C, 16, 7, 7).

    Args:
        weight: of the stem.
        dtype: of the result.
    """
    size = (len(weight), 7, 7, WINDOW_CHANNELS)
    filters = weight.new_zeros(size, dtype=dtype).permute(0, 3, 1, 2)
    filters[:, :9] = weight.transpose(1, 2).flatten(1, 2)
    return filters


def stem_maps(
    clips: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the stem's convolution, (B, T, H', W', C).

    Args:
        clips: (B, 3, T, H, W).
        weight: see :func:`window_weight`; its dtype is that of the result.
        bias: (C,).
    """
    windows = frame_windows(clips, weight.dtype)
    maps = F.conv2d(windows, weight, bias, STRIDE, PADDING)
    maps = maps.permute(0, 2, 3, 1).contiguous()  # a view, as the convolution is channels last
    return maps.unflatten(0, (len(clips), -1))


def stem_weight_gradient(grad: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """Return the gradient of the stem's weight, (C, 3, 3, 7, 7).

    Args:
        grad: of :func:`stem_maps`, (B, T, H', W', C).
        clips: (B, 3, T, H, W).
    """
    windows = frame_windows(clips, grad.dtype)
    d_weight = torch.ops.aten.convolution_backward(
        grad.flatten(0, 1).permute(0, 3, 1, 2),
        windows,
        windows.new_empty((grad.shape[-1], WINDOW_CHANNELS, 7, 7)),
        None,
        STRIDE,
        PADDING,
        [1, 1],
        False,
        [0, 0],
        1,
        [False, True, False],
    )[1]
    return d_weight[:, :9].unflatten(1, (3, 3)).transpose(1, 2)


def pooled(
    maps: torch.Tensor, norm: AppliedNorm, *, keep_places: bool = False
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Norm, ReLU and max pooling of 3x3 places at stride 2.

    Args:
        maps: (B, T, H, W, C).
        norm: of the maps.
        keep_places: for :func:`pooling_gradient`.

    Returns:
        (B, T, ceil(H / 2), ceil(W / 2), C), and which of the nine places was taken: uint8 of the
        same shape, or None.
    """
    batch, num_frames, height, width, channels = maps.shape
    sides = ceil_div(height, 2), ceil_div(width, 2)
    out = maps.new_empty(batch, num_frames, *sides, channels)
    places = torch.empty_like(out, dtype=torch.uint8) if keep_places else None
    grid, blocks = _programs(batch * num_frames, sides[0] * sides[1], channels)
    kernels.norm_relu_pool[grid](
        *(maps, norm.values, out, out if places is None else places, height, width, *sides),
        *(channels, keep_places, accumulator(maps.dtype), *blocks),
    )
    return out, places


def pooling_gradient(
    grad: torch.Tensor, places: torch.Tensor, sides: tuple[int, int]
) -> torch.Tensor:
    """Return the gradient of the ReLU that was pooled, (B, T, H, W, C).

    Args:
        grad: of what :func:`pooled` returned.
        places: likewise.
        sides: H and W.
    """
    batch, num_frames, *out_sides, channels = grad.shape
    d_maps = grad.new_empty(batch, num_frames, *sides, channels)
    grid, blocks = _programs(batch * num_frames, sides[0] * sides[1], channels)
    kernels.pool_gradient[grid](
        *(grad, places, d_maps, *sides, *out_sides, channels, accumulator(grad.dtype)),
        *blocks,
    )
    return d_maps


def _programs(
    num_maps: int, num_places: int, channels: int
) -> tuple[tuple[int, int, int], tuple[int, int]]:
    """Grid of programs, and the places and channels that each works on."""
    block_channels = min(64, max(8, next_power_of_2(channels)))
    block_places = min(_BLOCK_NUMBERS // block_channels, next_power_of_2(num_places))
    grid = (num_maps, ceil_div(num_places, block_places), ceil_div(channels, block_channels))
    return grid, (block_places, block_channels)
