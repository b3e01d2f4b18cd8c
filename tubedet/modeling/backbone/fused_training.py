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

from tubedet.layers import FrozenBatchNorm3d, depthwise_gradients
from tubedet.layers.row_norm import NormStatistics, norm_gradients, norm_relu, row_chunks

from .folded_csn import frame_windows, frames_as_channels


def can_fuse(x: torch.Tensor, *norms: nn.Module) -> bool:
    """Whether the functions of this file apply: full precision on a CPU, and batch norms.

    Args:
        x: the input of the part.
        norms: of the part.
    """
    return (
        x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and all(isinstance(norm, (nn.BatchNorm3d, FrozenBatchNorm3d)) for norm in norms)
    )


relu_gradient = torch.ops.aten.threshold_backward.grad_input


class BottleneckFunction(torch.autograd.Function):
    """:class:`Bottleneck` of a CSN.

    Of a block whose output has 4 m numbers, the input (4 m) and the inputs of the first two norms
    (2 m) are kept, or the input alone; the modules keep 12 m.
    """

    @staticmethod
    def forward(ctx, x, block, recompute_all, w1, g1, b1, w2, g2, b2, w3, g3, b3, *shortcut):
        """The output (B, C', T', H', W') of a block.

        Args:
            x: (B, C, T, H, W), channels last.
            block: the :class:`Bottleneck`; its norms are updated.
            recompute_all: keep nothing but the input.
            w1 .. b3: its convolutions' weights, and weights and biases of its norms.
            shortcut: likewise of its projection, if it has one.
        """
        clips = x.permute(0, 2, 3, 4, 1).contiguous()
        h1 = F.linear(clips, w1.flatten(1))
        s1 = NormStatistics.of(block.norm1, _rows(h1))
        h2 = _depthwise(norm_relu(_rows(h1), s1, g1, b1).view_as(h1), w2, block.conv2)
        s2 = NormStatistics.of(block.norm2, _rows(h2))
        c3 = F.linear(norm_relu(_rows(h2), s2, g2, b2).view_as(h2), w3.flatten(1))
        s3 = NormStatistics.of(block.norm3, _rows(c3))
        scale, shift = s3.affine(g3, b3)
        residual, statistics = clips, [s1, s2, s3]
        if shortcut:
            ws, gs, bs = shortcut
            residual = F.linear(_strided(clips, block.conv2.stride), ws.flatten(1))
            statistics.append(NormStatistics.of(block.shortcut[1], _rows(residual)))
            residual_affine = statistics[3].affine(gs, bs)
        else:
            residual_affine = None
        for part, other in row_chunks(_rows(c3), _rows(residual)):
            _block_sum(part, (scale, shift), other, residual_affine, out=part).relu_()
        ctx.block = block
        ctx.of_batch = [s.of_batch for s in statistics]
        ctx.save_for_backward(
            clips,
            *(() if recompute_all else (h1, h2)),
            *(tensor for s in statistics for tensor in (s.mean, s.inverse_std)),
            *(w1, g1, b1, w2, g2, b2, w3, g3, b3, *shortcut),
        )
        ctx.recompute_all = recompute_all
        return c3.permute(0, 4, 1, 2, 3)

    @staticmethod
    def backward(ctx, d_out):
        """Gradients of the arguments of :meth:`forward`."""
        clips, *saved = ctx.saved_tensors
        h1, h2 = (None, None) if ctx.recompute_all else (saved.pop(0), saved.pop(0))
        statistics = [
            NormStatistics(saved.pop(0), saved.pop(0), of_batch) for of_batch in ctx.of_batch
        ]
        w1, g1, b1, w2, g2, b2, w3, g3, b3, *shortcut = saved
        s1, s2, s3 = statistics[:3]
        conv2 = ctx.block.conv2
        if h1 is None:
            h1 = F.linear(clips, w1.flatten(1))
        a1 = norm_relu(_rows(h1), s1, g1, b1).view_as(h1)
        if h2 is None:
            h2 = _depthwise(a1, w2, conv2)
        a2 = norm_relu(_rows(h2), s2, g2, b2)
        c3 = F.linear(a2, w3.flatten(1))

        # The gradient behind the last ReLU, whose input is computed again.
        scale, shift = s3.affine(g3, b3)
        d_out = _rows(d_out.permute(0, 2, 3, 4, 1).contiguous())
        d_sum = torch.empty_like(c3)
        if shortcut:
            ws, gs, bs = shortcut
            taken = _strided(clips, conv2.stride).flatten(0, -2)
            residual = F.linear(taken, ws.flatten(1))
            residual_affine = statistics[3].affine(gs, bs)
        else:
            residual, residual_affine = _rows(clips), None
        for part, other, grad, result in row_chunks(c3, residual, d_out, d_sum):
            _block_sum(part, (scale, shift), other, residual_affine, out=result)
            relu_gradient(grad, result, 0, grad_input=result)

        d_shortcut = ()
        if shortcut:
            d_gs, d_bs = norm_gradients(d_sum, residual, statistics[3], gs, out=residual)
            d_shortcut = ((residual.t() @ taken).view_as(ws), d_gs, d_bs)
        d_g3, d_b3 = norm_gradients(d_sum, c3, s3, g3, out=c3)
        d_w3 = (c3.t() @ a2).view_as(w3)
        d_h2 = torch.mm(c3, w3.flatten(1))
        relu_gradient(d_h2, a2, 0, grad_input=d_h2)
        del c3
        d_g2, d_b2 = norm_gradients(d_h2, _rows(h2), s2, g2, out=d_h2)
        del a2
        d_h1, d_w2 = depthwise_gradients(d_h2.view_as(h2), a1, w2, conv2.stride)
        d_h1 = _rows(relu_gradient(d_h1, a1, 0, grad_input=d_h1))
        del a1, d_h2
        d_g1, d_b1 = norm_gradients(d_h1, _rows(h1), s1, g1, out=d_h1)
        d_w1 = (d_h1.t() @ _rows(clips)).view_as(w1)
        d_x = None
        if ctx.needs_input_grad[0]:
            if shortcut:
                d_x = torch.mm(d_h1, w1.flatten(1)).view_as(clips)
                d_taken = torch.mm(residual, ws.flatten(1))
                target = _strided(d_x, conv2.stride)
                target += d_taken.view_as(target)
            else:
                d_x = d_sum.addmm_(d_h1, w1.flatten(1)).view_as(clips)
            d_x = d_x.permute(0, 4, 1, 2, 3)
        return (
            d_x, None, None, d_w1, d_g1, d_b1, d_w2, d_g2, d_b2, d_w3, d_g3, d_b3, *d_shortcut
        )  # fmt: skip


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
        statistics = NormStatistics.of(stem.norm, _rows(maps))
        scale, shift = statistics.affine(gain, bias)
        out = None
        for t in range(maps.shape[1]):
            frame = torch.addcmul(shift, maps[:, t], scale).relu_().permute(0, 3, 1, 2)
            frame = F.max_pool2d(frame, *_pooling(stem.pool))
            if out is None:
                out = frame.new_empty(len(x), maps.shape[1], *frame.shape[-2:], frame.shape[1])
            out[:, t] = frame.permute(0, 2, 3, 1)
        kept = () if recompute_all else (maps,)
        ctx.save_for_backward(x, *kept, statistics.mean, statistics.inverse_std, weight, gain, bias)
        ctx.stem, ctx.of_batch = stem, statistics.of_batch
        return out.permute(0, 4, 1, 2, 3)

    @staticmethod
    def backward(ctx, d_out):
        """Gradients of the arguments of :meth:`forward`."""
        x, *maps, mean, inverse_std, weight, gain, bias = ctx.saved_tensors
        stem = ctx.stem
        maps = maps[0] if maps else _stem_maps(x, weight, stem.conv)
        statistics = NormStatistics(mean, inverse_std, ctx.of_batch)
        scale, shift = statistics.affine(gain, bias)
        kernel, stride, padding = _pooling(stem.pool)
        d_maps = torch.empty_like(maps)
        for t in range(maps.shape[1]):
            frame = torch.addcmul(shift, maps[:, t], scale).relu_().permute(0, 3, 1, 2)
            _, places = F.max_pool2d(frame, kernel, stride, padding, return_indices=True)
            d_frame = torch.ops.aten.max_pool2d_with_indices_backward(
                d_out[:, :, t], frame, kernel, stride, padding, [1, 1], False, places
            )
            d_maps[:, t] = relu_gradient(d_frame, frame, 0, grad_input=d_frame).permute(0, 2, 3, 1)
        d_gain, d_bias = norm_gradients(
            _rows(d_maps), _rows(maps), statistics, gain, out=_rows(d_maps)
        )
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
        return None, None, None, d_weight, d_gain, d_bias


def _stem_maps(x: torch.Tensor, weight: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """The stem's convolution, (B, T, H', W', C)."""
    flat, out = frames_as_channels(weight), None
    for t, window in enumerate(frame_windows(x)):
        frame = F.conv2d(window, flat, None, conv.stride[1:], conv.padding[1:])
        if out is None:
            out = frame.new_empty(len(x), x.shape[2], *frame.shape[-2:], frame.shape[1])
        out[:, t] = frame.permute(0, 2, 3, 1)
    return out


def _pooling(pool: nn.MaxPool3d) -> list:
    """Kernel, stride and padding of the pooling of one frame."""
    return [list(sides[1:]) for sides in (pool.kernel_size, pool.stride, pool.padding)]


def _block_sum(rows, affine, others, other_affine, *, out):
    """What the last ReLU of a block takes: normed rows and the shortcut, normed or as it is."""
    scale, shift = affine
    if other_affine is None:
        return torch.addcmul(others, rows, scale, out=out).add_(shift)
    other_scale, other_shift = other_affine
    torch.addcmul(shift + other_shift, rows, scale, out=out)
    return out.addcmul_(others, other_scale)


def _rows(maps: torch.Tensor) -> torch.Tensor:
    """(B, T, H, W, C) as (N, C)."""
    return maps.view(-1, maps.shape[-1])


def _strided(maps: torch.Tensor, stride: tuple[int, int, int]) -> torch.Tensor:
    """The cells of (B, T, H, W, C) that a 1x1x1 convolution with a stride looks at; a view."""
    time, row, column = stride
    return maps[:, ::time, ::row, ::column]


def _depthwise(maps: torch.Tensor, weight: torch.Tensor, conv: nn.Conv3d) -> torch.Tensor:
    """The depthwise convolution of (B, T, H, W, C), channels last as well."""
    x = maps.permute(0, 4, 1, 2, 3)
    out = F.conv3d(x, weight, None, conv.stride, conv.padding, 1, conv.groups)
    return out.permute(0, 2, 3, 4, 1).contiguous()
