"""Training of a CSN's blocks on CPUs: each as a single step of autograd.

Module by module, autograd keeps every intermediate map. Here a block keeps its input and output,
which its neighbours keep anyhow, and what is expensive to compute again; the rest is recomputed in
the backward pass from the stored statistics of the batch norms, which are updated once. Maps are
worked on as rows (N, C) of their channels, in slices that stay in the cache, and 1x1x1 convolutions
are matrix products. Results and gradients equal those of the modules up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from tubedet.layers import FrozenBatchNorm3d

from .depthwise_conv import depthwise_gradients
from .large_memory import empty_maps, give_freed_memory_back
from .normed_product import NormedProductGradients, products
from .row_norm import NormGradients, NormStatistics, as_rows, relu_gradient, row_chunks


def is_full_precision_on_cpu(x: torch.Tensor) -> bool:
    """Whether a part with this input can be one step of autograd here.

    Args:
        x: the input of the part.
    """
    return x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def has_usual_norms(*norms: nn.Module) -> bool:
    """Whether all are batch norms, frozen or with parameters and exponential running averages.

    Args:
        norms: of a part.
    """
    return all(isinstance(norm, FrozenBatchNorm3d) or _is_usual(norm) for norm in norms)


def _is_usual(norm: nn.Module) -> bool:
    """Whether it is a batch norm with parameters and exponential running averages."""
    return (
        isinstance(norm, nn.BatchNorm3d)
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
    )


class BottleneckFunction(torch.autograd.Function):
    """:class:`Bottleneck` of a CSN.

    Of a block whose output has 4 m numbers, the input and the output (4 m each, shared with the
    neighbouring blocks) and the inputs of the first two norms (2 m) are kept, or only the former;
    the modules keep 12 m.
    """

    @staticmethod
    def forward(ctx, x, block, recompute_all, w1, g1, b1, w2, g2, b2, w3, g3, b3, *shortcut):
        """Return the output (B, C', T', H', W') of a block.

        Args:
            x: (B, C, T, H, W), channels last.
            block: the :class:`Bottleneck`; its norms are updated.
            recompute_all: keep nothing but the input and the output.
            w1 .. b3: its convolutions' weights, and weights and biases of its norms.
            shortcut: likewise of its projection, if it has one.
        """
        clips = x.permute(0, 2, 3, 4, 1).contiguous()
        h1 = _new_maps(clips, w1)
        s1 = NormStatistics.of(
            block.norm1, products(as_rows(clips), w1.flatten(1), out=as_rows(h1))
        )
        h2 = _depthwise(s1.affine(g1, b1).relu(as_rows(h1)).view_as(h1), w2, block.conv2)
        s2 = NormStatistics.of(block.norm2, (part for (part,) in row_chunks(as_rows(h2))))
        out = _new_maps(h2, w3)
        a2_by_w3 = products(as_rows(h2), w3.flatten(1), out=as_rows(out), norm=s2.affine(g2, b2))
        s3 = NormStatistics.of(block.norm3, a2_by_w3)
        statistics = [s1, s2, s3]
        scale, shift = s3.affine(g3, b3)
        if shortcut:
            ws, gs, bs = shortcut
            residual = empty_maps(out, *out.shape)
            product = products(_sampled_input(clips, block), ws.flatten(1), out=as_rows(residual))
            statistics.append(NormStatistics.of(block.shortcut[1], product))
            residual_scale, residual_shift = statistics[3].affine(gs, bs)
            for part, other in row_chunks(as_rows(out), as_rows(residual)):
                torch.addcmul(shift + residual_shift, part, scale, out=part)
                part.addcmul_(other, residual_scale).relu_()
        else:
            for part, other in row_chunks(as_rows(out), as_rows(clips)):
                torch.addcmul(other, part, scale, out=part).add_(shift).relu_()
        ctx.block = block
        ctx.of_batch = [s.of_batch for s in statistics]
        ctx.recompute_all = recompute_all
        ctx.save_for_backward(
            clips,
            out,
            *(() if recompute_all else (h1, h2)),
            *(tensor for s in statistics for tensor in (s.mean, s.inverse_std)),
            *(w1, g1, b1, w2, g2, b2, w3, g3, b3, *shortcut),
        )
        return out.permute(0, 4, 1, 2, 3)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_out):
        """Gradients of the arguments of :meth:`forward`."""
        clips, out, *saved = ctx.saved_tensors
        h1: Any
        h2: Any
        h1, h2 = (None, None) if ctx.recompute_all else (saved.pop(0), saved.pop(0))
        statistics = [
            NormStatistics(saved.pop(0), saved.pop(0), of_batch) for of_batch in ctx.of_batch
        ]
        w1, g1, b1, w2, g2, b2, w3, g3, b3, *shortcut = saved
        s1, s2, s3 = statistics[:3]
        conv2 = ctx.block.conv2
        if ctx.recompute_all:
            # Here the largest maps meet: what layers behind this one have freed must not be added.
            give_freed_memory_back()
            h1 = _new_maps(clips, w1)
            torch.mm(as_rows(clips), w1.flatten(1).t(), out=as_rows(h1))
        a1 = s1.affine(g1, b1).relu(as_rows(h1)).view_as(h1)
        if h2 is None:
            h2 = _depthwise(a1, w2, conv2)
        d_out, out = as_rows(d_out.permute(0, 2, 3, 4, 1).contiguous()), as_rows(out)
        norm2, third = s2.affine(g2, b2), NormedProductGradients(w3.flatten(1), s3, g3)
        taken: torch.Tensor | None = None
        projection: NormedProductGradients | None = None
        if shortcut:
            taken = _sampled_input(clips, ctx.block)
            projection = NormedProductGradients(shortcut[0].flatten(1), statistics[3], shortcut[1])

        d_h2 = _gradient_before_third(d_out, out, h2, norm2, third, taken, projection)
        of_third, of_shortcut = third.finish(), projection.finish() if projection else ()
        second = _through_second_norm(d_h2, h2, norm2, third, NormGradients(s2, g2))
        d_h1, d_w2 = depthwise_gradients(d_h2, a1, w2, conv2.stride)
        del d_h2, h2
        first, d_w1 = _through_first_norm(d_h1, h1, a1, clips, NormGradients(s1, g1))
        del h1, a1
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = empty_maps(clips, *clips.shape)
            if shortcut:
                for result, part in row_chunks(as_rows(d_x), as_rows(d_h1)):
                    torch.mm(part, w1.flatten(1), out=result)
                d_taken = _shortcut_gradient(d_out, out, taken, projection)
                target = _strided(d_x, conv2.stride)
                target += d_taken.view_as(target)
            else:
                slices = row_chunks(d_out, out, as_rows(d_x), as_rows(d_h1))
                for d_part, out_part, result, part in slices:
                    relu_gradient(d_part, out_part, out=result).addmm_(part, w1.flatten(1))
            d_x = d_x.permute(0, 4, 1, 2, 3)
        gradients = (d_w1, first.d_weight, first.d_bias, d_w2, second.d_weight, second.d_bias)
        gradients = (*gradients, *of_third, *of_shortcut)
        weights = (w1, g1, b1, w2, g2, b2, w3, g3, b3, *shortcut)
        return d_x, None, None, *(d.view_as(w) for d, w in zip(gradients, weights))


def _gradient_before_third(d_out, out, h2, norm2, third, taken, projection):
    """Add the gradient behind the last ReLU to ``third`` and ``projection``, which meet there.

    Returns:
        what of the gradient of the ReLU of h2 is known before ``third`` is finished.
    """
    d_h2 = empty_maps(h2, *h2.shape)
    slices = row_chunks(
        *(d_out, out, as_rows(h2), as_rows(d_h2), d_out if taken is None else taken),
        scratch=(d_out.shape[1], h2.shape[-1]),
    )
    for d_part, out_part, part, result, taken_part, d_sum, a2 in slices:
        relu_gradient(d_part, out_part, out=d_sum)
        third.add(d_sum, norm2.relu(part, out=a2))
        torch.mm(d_sum, third.direct, out=result)
        if projection is not None:
            projection.add(d_sum, taken_part)
    return d_h2


def _through_second_norm(d_h2, h2, norm2, third, second):
    """Complete the gradient of h2, in place, and those of its norm."""
    for part, result, a2 in row_chunks(as_rows(h2), as_rows(d_h2), scratch=(h2.shape[-1],)):
        norm2.relu(part, out=a2)
        relu_gradient(third.complete_(result, a2), a2, out=result)
        second.add(result, part)
    for part, result in row_chunks(as_rows(h2), as_rows(d_h2)):
        second.apply_(result, part)
    return second


def _through_first_norm(d_h1, h1, a1, clips, first):
    """Complete the gradient of h1, in place, those of its norm, and that of the convolution."""
    for part, a1_part, result in row_chunks(as_rows(h1), as_rows(a1), as_rows(d_h1)):
        first.add(relu_gradient(result, a1_part, out=result), part)
    d_w1 = clips.new_zeros(h1.shape[-1], clips.shape[-1])
    for part, result, clip_part in row_chunks(as_rows(h1), as_rows(d_h1), as_rows(clips)):
        d_w1.addmm_(first.apply_(result, part).t(), clip_part)
    return first, d_w1


def _shortcut_gradient(d_out, out, taken, projection):
    """Gradient of the rows that the shortcut projects."""
    d_taken = torch.empty_like(taken)
    slices = row_chunks(d_out, out, taken, d_taken, scratch=(d_out.shape[1],))
    for d_part, out_part, part, result, d_sum in slices:
        relu_gradient(d_part, out_part, out=d_sum)
        projection.complete_(torch.mm(d_sum, projection.direct, out=result), part)
    return d_taken


def _strided(maps: torch.Tensor, stride: tuple[int, int, int]) -> torch.Tensor:
    """Return the cells of (B, T, H, W, C) that a strided 1x1x1 convolution sees; a view."""
    time, row, column = stride
    return maps[:, ::time, ::row, ::column]


def _sampled_input(clips: torch.Tensor, block: Any) -> torch.Tensor:
    """Return the rows of (B, T, H, W, C) that the shortcut of a block projects."""
    return _strided(clips, block.conv2.stride).flatten(0, -2)


def _new_maps(like: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Memory for what a 1x1x1 convolution makes of (B, T, H, W, C)."""
    return empty_maps(like, *like.shape[:-1], len(weight))


def _depthwise(maps: torch.Tensor, weight: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """Return the depthwise convolution of (B, T, H, W, C), channels last as well."""
    x = maps.permute(0, 4, 1, 2, 3)
    out = F.conv3d(x, weight, None, conv.stride, conv.padding, 1, conv.groups)
    return out.permute(0, 2, 3, 4, 1).contiguous()
