"""Training of a CSN's stem on CPUs, see :mod:`.fused_training`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from .folded import frame_windows, frames_as_channels
from .large_memory import empty_maps
from .row_norm import NormGradients, NormStatistics, as_rows, relu_gradient, row_chunks


class StemFunction(torch.autograd.Function):
    """:class:`Stem` of a CSN, frame by frame.

    The clip and the output of the convolution are kept, or the clip alone. No gradient reaches the
    clip.
    """

    @staticmethod
    def forward(ctx, x, stem, recompute_all, weight, gain, bias):
        """Return the output (B, C, T, H', W') of a stem.

        Args:
            x: (B, 3, T, H, W).
            stem: the :class:`Stem`; its norm is updated.
            recompute_all: keep nothing but the input.
            weight, gain, bias: of its convolution and its norm.
        """
        maps = _stem_maps(x, weight, stem.conv)
        statistics = NormStatistics.of(stem.norm, (part for (part,) in row_chunks(as_rows(maps))))
        scale, shift = statistics.affine(gain, bias)
        out = None
        for t in range(maps.shape[1]):
            frame = torch.addcmul(shift, maps[:, t], scale).relu_().permute(0, 3, 1, 2)
            frame = F.max_pool2d(frame, *_pooling(stem.pool))
            if out is None:
                out = empty_maps(frame, *maps.shape[:2], *frame.shape[-2:], frame.shape[1])
            out[:, t] = frame.permute(0, 2, 3, 1)
        assert out is not None  # a clip has a frame
        kept = () if recompute_all else (maps,)
        ctx.save_for_backward(x, *kept, statistics.mean, statistics.inverse_std, weight, gain, bias)
        ctx.stem, ctx.of_batch = stem, statistics.of_batch
        return out.permute(0, 4, 1, 2, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):
        """Gradients of the arguments of :meth:`forward`."""
        x, *maps, mean, inverse_std, weight, gain, bias = ctx.saved_tensors
        stem = ctx.stem
        maps = maps[0] if maps else _stem_maps(x, weight, stem.conv)
        statistics = NormStatistics(mean, inverse_std, ctx.of_batch)
        scale, shift = statistics.affine(gain, bias)
        kernel, stride, padding = _pooling(stem.pool)
        d_maps = empty_maps(maps, *maps.shape)
        for t in range(maps.shape[1]):
            frame = torch.addcmul(shift, maps[:, t], scale).relu_().permute(0, 3, 1, 2)
            _, places = F.max_pool2d(frame, kernel, stride, padding, return_indices=True)
            d_frame = torch.ops.aten.max_pool2d_with_indices_backward(
                d_out[:, :, t], frame, kernel, stride, padding, [1, 1], False, places
            )
            d_maps[:, t] = relu_gradient(d_frame, frame, out=d_frame).permute(0, 2, 3, 1)
        gradients = NormGradients(statistics, gain)
        for part, result in row_chunks(as_rows(maps), as_rows(d_maps)):
            gradients.add(result, part)
        for part, result in row_chunks(as_rows(maps), as_rows(d_maps)):
            gradients.apply_(result, part)
        flat = frames_as_channels(weight)
        d_weight = torch.zeros_like(flat)
        for t, window in enumerate(frame_windows(x)):
            d_weight += torch.ops.aten.convolution_backward(
                d_maps[:, t].permute(0, 3, 1, 2),
                window,
                flat,
                None,
                stem.conv.stride[1:],
                stem.conv.padding[1:],
                [1, 1],
                False,
                [0, 0],
                1,
                [False, True, False],
            )[1]
        d_weight = d_weight.unflatten(1, (3, 3)).transpose(1, 2)
        return None, None, None, d_weight, gradients.d_weight, gradients.d_bias


def _stem_maps(x: torch.Tensor, weight: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """Return the stem's convolution, (B, T, H', W', C)."""
    flat, out = frames_as_channels(weight), None
    for t, window in enumerate(frame_windows(x)):
        frame = F.conv2d(window, flat, None, conv.stride[1:], conv.padding[1:])
        if out is None:
            out = empty_maps(frame, len(x), x.shape[2], *frame.shape[-2:], frame.shape[1])
        out[:, t] = frame.permute(0, 2, 3, 1)
    assert out is not None  # a clip has a frame
    return out


def _pooling(pool: Any) -> list:
    """Kernel, stride and padding of the pooling of one frame."""
    return [list(sides[1:]) for sides in (pool.kernel_size, pool.stride, pool.padding)]
