"""Training of a CSN on CPUs: its parts as single steps of autograd.

Module by module, autograd keeps every intermediate map. Here a part keeps its input and what is
expensive to compute again; the rest is recomputed in the backward pass from the stored statistics
of the batch norms, which are updated once. Maps are worked on as rows (N, C) of their channels, in
slices that stay in the cache, and 1x1x1 convolutions are matrix products. Results and gradients
equal those of the modules up to rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from tubedet.layers import FrozenBatchNorm3d, depthwise_gradients
from tubedet.layers.large_memory import empty_maps, give_freed_memory_back
from tubedet.layers.normed_product import NormedProductGradients, products
from tubedet.layers.row_norm import NormGradients, NormStatistics, relu_gradient, row_chunks

from .folded_csn import frame_windows, frames_as_channels


def can_fuse(x: torch.Tensor, *norms: nn.Module) -> bool:
    """Whether the functions of this file apply: full precision on a CPU, and usual batch norms.

    Args:
        x: the input of the part.
        norms: of the part.
    """
    return (
        x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and all(isinstance(norm, FrozenBatchNorm3d) or _is_usual(norm) for norm in norms)
    )


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
        """The output (B, C', T', H', W') of a block.

        Args:
            x: (B, C, T, H, W), channels last.
            block: the :class:`Bottleneck`; its norms are updated.
            recompute_all: keep nothing but the input and the output.
            w1 .. b3: its convolutions' weights, and weights and biases of its norms.
            shortcut: likewise of its projection, if it has one.
        """
        clips = x.permute(0, 2, 3, 4, 1).contiguous()
        h1 = _new_maps(clips, w1)
        s1 = NormStatistics.of(block.norm1, products(_rows(clips), w1.flatten(1), out=_rows(h1)))
        h2 = _depthwise(s1.affine(g1, b1).relu(_rows(h1)).view_as(h1), w2, block.conv2)
        s2 = NormStatistics.of(block.norm2, (part for (part,) in row_chunks(_rows(h2))))
        out = _new_maps(h2, w3)
        a2_by_w3 = products(_rows(h2), w3.flatten(1), out=_rows(out), norm=s2.affine(g2, b2))
        s3 = NormStatistics.of(block.norm3, a2_by_w3)
        statistics = [s1, s2, s3]
        scale, shift = s3.affine(g3, b3)
        if shortcut:
            ws, gs, bs = shortcut
            residual = empty_maps(out, *out.shape)
            taken_by_ws = products(_taken(clips, block), ws.flatten(1), out=_rows(residual))
            statistics.append(NormStatistics.of(block.shortcut[1], taken_by_ws))
            residual_scale, residual_shift = statistics[3].affine(gs, bs)
            for part, other in row_chunks(_rows(out), _rows(residual)):
                torch.addcmul(shift + residual_shift, part, scale, out=part)
                part.addcmul_(other, residual_scale).relu_()
        else:
            for part, other in row_chunks(_rows(out), _rows(clips)):
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
            torch.mm(_rows(clips), w1.flatten(1).t(), out=_rows(h1))
        a1 = s1.affine(g1, b1).relu(_rows(h1)).view_as(h1)
        if h2 is None:
            h2 = _depthwise(a1, w2, conv2)
        d_out, out = _rows(d_out.permute(0, 2, 3, 4, 1).contiguous()), _rows(out)
        norm2, third = s2.affine(g2, b2), NormedProductGradients(w3.flatten(1), s3, g3)
        taken = projection = None
        if shortcut:
            taken = _taken(clips, ctx.block)
            projection = NormedProductGradients(shortcut[0].flatten(1), statistics[3], shortcut[1])

        d_h2 = _behind_third(d_out, out, h2, norm2, third, taken, projection)
        of_third, of_shortcut = third.finish(), projection.finish() if shortcut else ()
        second = _through_second_norm(d_h2, h2, norm2, third, NormGradients(s2, g2))
        d_h1, d_w2 = depthwise_gradients(d_h2, a1, w2, conv2.stride)
        del d_h2, h2
        first, d_w1 = _through_first_norm(d_h1, h1, a1, clips, NormGradients(s1, g1))
        del h1, a1
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = empty_maps(clips, *clips.shape)
            if shortcut:
                for result, part in row_chunks(_rows(d_x), _rows(d_h1)):
                    torch.mm(part, w1.flatten(1), out=result)
                d_taken = _shortcut_gradient(d_out, out, taken, projection)
                target = _strided(d_x, conv2.stride)
                target += d_taken.view_as(target)
            else:
                slices = row_chunks(d_out, out, _rows(d_x), _rows(d_h1))
                for d_part, out_part, result, part in slices:
                    relu_gradient(d_part, out_part, out=result).addmm_(part, w1.flatten(1))
            d_x = d_x.permute(0, 4, 1, 2, 3)
        gradients = (d_w1, first.d_weight, first.d_bias, d_w2, second.d_weight, second.d_bias)
        gradients = (*gradients, *of_third, *of_shortcut)
        weights = (w1, g1, b1, w2, g2, b2, w3, g3, b3, *shortcut)
        return d_x, None, None, *(d.view_as(w) for d, w in zip(gradients, weights))


def _behind_third(d_out, out, h2, norm2, third, taken, projection):
    """Tell ``third`` and ``projection`` the gradient of their sum; that of h2's ReLU is begun."""
    d_h2 = empty_maps(h2, *h2.shape)
    slices = row_chunks(
        *(d_out, out, _rows(h2), _rows(d_h2), d_out if taken is None else taken),
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
    for part, result, a2 in row_chunks(_rows(h2), _rows(d_h2), scratch=(h2.shape[-1],)):
        norm2.relu(part, out=a2)
        relu_gradient(third.complete_(result, a2), a2, out=result)
        second.add(result, part)
    for part, result in row_chunks(_rows(h2), _rows(d_h2)):
        second.apply_(result, part)
    return second


def _through_first_norm(d_h1, h1, a1, clips, first):
    """Complete the gradient of h1, in place, those of its norm, and that of the convolution."""
    for part, a1_part, result in row_chunks(_rows(h1), _rows(a1), _rows(d_h1)):
        first.add(relu_gradient(result, a1_part, out=result), part)
    d_w1 = clips.new_zeros(h1.shape[-1], clips.shape[-1])
    for part, result, clip_part in row_chunks(_rows(h1), _rows(d_h1), _rows(clips)):
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


class StemFunction(torch.autograd.Function):
    """:class:`Stem` of a CSN, frame by frame.

    The clip and the output of the convolution are kept, or the clip alone. No gradient reaches the
    clip.
    """

    @staticmethod
    def forward(ctx, x, stem, recompute_all, weight, gain, bias):
        """The output (B, C, T, H', W') of a stem.

        Args:
            x: (B, 3, T, H, W).
            stem: the :class:`Stem`; its norm is updated.
            recompute_all: keep nothing but the input.
            weight, gain, bias: of its convolution and its norm.
        """
        maps = _stem_maps(x, weight, stem.conv)
        statistics = NormStatistics.of(stem.norm, (part for (part,) in row_chunks(_rows(maps))))
        scale, shift = statistics.affine(gain, bias)
        out = None
        for t in range(maps.shape[1]):
            frame = torch.addcmul(shift, maps[:, t], scale).relu_().permute(0, 3, 1, 2)
            frame = F.max_pool2d(frame, *_pooling(stem.pool))
            if out is None:
                out = empty_maps(frame, *maps.shape[:2], *frame.shape[-2:], frame.shape[1])
            out[:, t] = frame.permute(0, 2, 3, 1)
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
        for part, result in row_chunks(_rows(maps), _rows(d_maps)):
            gradients.add(result, part)
        for part, result in row_chunks(_rows(maps), _rows(d_maps)):
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
    """The stem's convolution, (B, T, H', W', C)."""
    flat, out = frames_as_channels(weight), None
    for t, window in enumerate(frame_windows(x)):
        frame = F.conv2d(window, flat, None, conv.stride[1:], conv.padding[1:])
        if out is None:
            out = empty_maps(frame, len(x), x.shape[2], *frame.shape[-2:], frame.shape[1])
        out[:, t] = frame.permute(0, 2, 3, 1)
    return out


def _pooling(pool: nn.MaxPool3d) -> list:
    """Kernel, stride and padding of the pooling of one frame."""
    return [list(sides[1:]) for sides in (pool.kernel_size, pool.stride, pool.padding)]


def _rows(maps: torch.Tensor) -> torch.Tensor:
    """(B, T, H, W, C) as (N, C)."""
    return maps.view(-1, maps.shape[-1])


def _strided(maps: torch.Tensor, stride: tuple[int, int, int]) -> torch.Tensor:
    """The cells of (B, T, H, W, C) that a 1x1x1 convolution with a stride looks at; a view."""
    time, row, column = stride
    return maps[:, ::time, ::row, ::column]


def _taken(clips: torch.Tensor, block: nn.Module) -> torch.Tensor:
    """The rows of (B, T, H, W, C) that the shortcut of a block projects."""
    return _strided(clips, block.conv2.stride).flatten(0, -2)


def _new_maps(like: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Memory for what a 1x1x1 convolution makes of (B, T, H, W, C)."""
    return empty_maps(like, *like.shape[:-1], len(weight))


def _depthwise(maps: torch.Tensor, weight: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """The depthwise convolution of (B, T, H, W, C), channels last as well."""
    x = maps.permute(0, 4, 1, 2, 3)
    out = F.conv3d(x, weight, None, conv.stride, conv.padding, 1, conv.groups)
    return out.permute(0, 2, 3, 4, 1).contiguous()
