"""Training of a CSN's parts on GPUs: each as a single step of autograd, in any precision.

Module by module, autograd keeps every intermediate map, and in half precision PyTorch casts, copies
and normalises in passes of their own. Here a part keeps its input and output, which its neighbours
keep anyhow, and the inputs of its first two norms, or only the former. 1x1x1 convolutions are
matrix products on rows of channels; norms, ReLUs and the depthwise convolution are the kernels of
this package. Results and gradients equal those of the modules up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .depthwise import (
    depthwise,
    depthwise_input_gradient,
    depthwise_weight_gradient,
    taps_by_channel,
)
from .launching import compute_dtype, executing_part, weight_gradient
from .row_norm import AppliedNorm
from .stem import pooled, pooling_gradient, stem_maps, stem_weight_gradient, window_weight


class StemKernels(torch.autograd.Function):
    """:class:`Stem` of a CSN. No gradient reaches the clip.

    The clip, the output of the convolution and the places of the maxima are kept, or without the
    second, which is computed again.
    """

    @staticmethod
    def forward(ctx, x, stem, recompute_all, weight, gain, bias):
        """Return the output (B, C, T, H', W') of a stem.

        Args:
            x: (B, 3, T, H, W).
            stem: the :class:`Stem`; its norm is updated.
            recompute_all: do not keep the output of the convolution.
            weight, gain, bias: of its convolution and its norm.
        """
        dtype = compute_dtype(x)
        with executing_part(x):
            filters = window_weight(weight, dtype)
            maps = stem_maps(x, filters)
            norm = AppliedNorm.of(stem.norm, _rows(maps))
            out, places = pooled(maps, norm, keep_places=True)
        ctx.sides, ctx.of_batch = tuple(maps.shape[2:4]), norm.of_batch
        ctx.weight_dtype = weight.dtype
        kept = () if recompute_all else (maps,)
        ctx.save_for_backward(x, filters, places, norm.values, *kept)
        return out.permute(0, 4, 1, 2, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):
        """Gradients of the arguments of :meth:`forward`."""
        x, filters, places, values, *kept = ctx.saved_tensors
        norm = AppliedNorm(values, ctx.of_batch)
        with executing_part(x):
            maps = kept[0] if kept else stem_maps(x, filters)
            grad = _channels_last(d_out, filters.dtype)
            d_rows, rows = _rows(pooling_gradient(grad, places, ctx.sides)), _rows(maps)
            of_norm = norm.gradients(d_rows, rows, masked=d_rows)
            d_maps = of_norm.of_rows(d_rows, rows, out=d_rows).view_as(maps)
            d_weight = stem_weight_gradient(d_maps, x)
        return None, None, None, d_weight.to(ctx.weight_dtype), of_norm.weight, of_norm.bias


class BottleneckKernels(torch.autograd.Function):
    """:class:`Bottleneck` of a CSN.

    Of a block whose output has 4 m numbers, the input and the output (4 m each, shared with the
    neighbouring blocks) and the inputs of the first two norms (2 m) are kept, or only the former.
    """

    @staticmethod
    def forward(ctx, x, block, recompute_all, w1, g1, b1, w2, g2, b2, w3, g3, b3, *shortcut):
        """Return the output (B, C', T', H', W') of a block.

        Args:
            x: (B, C, T, H, W).
            block: the :class:`Bottleneck`; its norms are updated.
            recompute_all: keep nothing but the input and the output.
            w1 .. b3: its convolutions' weights, and weights and biases of its norms.
            shortcut: likewise of its projection, if it has one.
        """
        dtype = compute_dtype(x)
        with executing_part(x):
            maps = _channels_last(x, dtype)
            taps = taps_by_channel(w2, dtype)
            matrices = [w.flatten(1).to(dtype) for w in (w1, w3, *shortcut[:1])]
            stride = block.conv2.stride
            h1 = _product(maps, matrices[0])
            n1 = AppliedNorm.of(block.norm1, _rows(h1))
            h2 = depthwise(h1, taps, stride, norm=n1)
            n2 = AppliedNorm.of(block.norm2, _rows(h2))
            out = _product(n2.relu(_rows(h2)).view_as(h2), matrices[1])
            norms = [n1, n2, AppliedNorm.of(block.norm3, _rows(out))]
            residual, residual_norm = maps, None
            if shortcut:
                residual = _product(_strided(maps, stride), matrices[2])
                residual_norm = AppliedNorm.of(block.shortcut[1], _rows(residual))
                norms.append(residual_norm)
            norms[2].relu(
                _rows(out), out=_rows(out), other=_rows(residual), other_norm=residual_norm
            )
        ctx.stride, ctx.recompute_all = stride, recompute_all
        ctx.in_dtype, ctx.weight_dtype = x.dtype, w1.dtype
        ctx.of_batch = [norm.of_batch for norm in norms]
        kept = () if recompute_all else (h1, h2)
        ctx.save_for_backward(maps, out, *kept, *(n.values for n in norms), taps, *matrices)
        return out.permute(0, 4, 1, 2, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):
        """Gradients of the arguments of :meth:`forward`."""
        maps, out, *saved = ctx.saved_tensors
        h1: Any
        h2: Any
        h1, h2 = (None, None) if ctx.recompute_all else (saved.pop(0), saved.pop(0))
        n1, n2, n3, *n4 = [AppliedNorm(saved.pop(0), of_batch) for of_batch in ctx.of_batch]
        taps, w1, w3, *ws = saved
        with executing_part(maps):
            if ctx.recompute_all:
                h1 = _product(maps, w1)
                h2 = depthwise(h1, taps, ctx.stride, norm=n1)
            # Behind the last ReLU; the gradient of what was added there.
            d_sum = torch.empty_like(_rows(out))
            a2 = n2.relu(_rows(h2))
            h3 = a2 @ w3.t()
            d_out = _rows(_channels_last(d_out, maps.dtype))
            third = n3.gradients(d_out, h3, activated=_rows(out), masked=d_sum)
            d_h3 = third.of_rows(d_sum, h3, out=h3)
            d_w3 = weight_gradient(d_h3.t(), a2, ctx.weight_dtype)
            d_rows = d_h3 @ w3
            del h3, d_h3, a2
            second = n2.gradients(d_rows, _rows(h2), masked=d_rows)
            d_h2 = second.of_rows(d_rows, _rows(h2), out=d_rows).view_as(h2)
            d_w2 = depthwise_weight_gradient(d_h2, h1, ctx.stride, norm=n1)
            d_rows = _rows(depthwise_input_gradient(d_h2, taps, ctx.stride, h1.shape[1:4]))
            del h2, d_h2
            first = n1.gradients(d_rows, _rows(h1), masked=d_rows)
            d_h1 = first.of_rows(d_rows, _rows(h1), out=d_rows)
            d_w1 = weight_gradient(d_h1.t(), _rows(maps), ctx.weight_dtype)
            gradients = [
                d_w1,
                first.weight,
                first.bias,
                d_w2.to(ctx.weight_dtype),
                second.weight,
                second.bias,
            ]
            gradients += [d_w3, third.weight, third.bias]
            d_maps = None
            if n4:
                taken = _strided(maps, ctx.stride)
                projected = _rows(_product(taken, ws[0]))
                fourth = n4[0].gradients(d_sum, projected)
                d_projected = fourth.of_rows(d_sum, projected, out=projected)
                d_ws = weight_gradient(d_projected.t(), taken.flatten(0, -2), ctx.weight_dtype)
                gradients += [d_ws, fourth.weight, fourth.bias]
                if ctx.needs_input_grad[0]:
                    d_maps = (d_h1 @ w1).view_as(maps)
                    target = _strided(d_maps, ctx.stride)
                    target += (d_projected @ ws[0]).view_as(target)
            elif ctx.needs_input_grad[0]:
                d_maps = d_sum.addmm_(d_h1, w1).view_as(maps)
        d_x = None if d_maps is None else d_maps.permute(0, 4, 1, 2, 3).to(ctx.in_dtype)
        return d_x, None, None, *(_as_parameter(d) for d in gradients)


def _channels_last(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return (B, C, T, H, W) as (B, T, H, W, C), in a row."""
    return x.permute(0, 2, 3, 4, 1).to(dtype).contiguous()


def _rows(maps: torch.Tensor) -> torch.Tensor:
    """(B, T, H, W, C) as (N, C)."""
    return maps.view(-1, maps.shape[-1])


def _product(maps: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """Return the 1x1x1 convolution of (B, T, H, W, C) by (D, C)."""
    return (maps.flatten(0, -2) @ matrix.t()).view(*maps.shape[:-1], -1)


def _strided(maps: torch.Tensor, stride: tuple[int, int, int]) -> torch.Tensor:
    """Return the cells of (B, T, H, W, C) that a strided 1x1x1 convolution sees; a view."""
    time, row, column = stride
    return maps[:, ::time, ::row, ::column]


def _as_parameter(gradient: torch.Tensor) -> torch.Tensor:
    """Matrices as weights of 1x1x1 convolutions; the rest as it is."""
    return gradient[:, :, None, None, None] if gradient.dim() == 2 else gradient
