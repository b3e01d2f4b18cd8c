"""The parts of a CSN with their batch norms folded into the convolutions, for inference only.

Folding is exact up to rounding. On CPUs the parts also work through a few frames at a time in
channels-last order: 1x1x1 convolutions are matrix products on rows that are still in the cache, and
a block without a projection overwrites its input, so that the largest map is held once.
"""

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from tubedet.layers import FrozenBatchNorm3d

from .depthwise_conv import DepthwiseConv3d

# Numbers of an output map that are worked on at a time; with float32 they fit into a cache.
_CHUNK_NUMBERS = 1 << 20


def is_foldable(norm: nn.Module) -> bool:
    """Whether a norm is an affine map in evaluation: a batch norm, not a group norm."""
    return isinstance(norm, (nn.BatchNorm3d, nn.SyncBatchNorm, FrozenBatchNorm3d))


class FoldedStem(nn.Module):
    """:class:`Stem` of a CSN.

    Args:
        conv: its convolution.
        norm: its batch norm, see :func:`is_foldable`.
        pool: its max pooling.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, conv: nn.Conv3d, norm: nn.Module, pool: nn.MaxPool3d):
        super().__init__()
        self.pool = pool
        self.stride = conv.stride
        self.padding = cast(tuple[int, ...], conv.padding)
        weight, bias = folded(conv, norm)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, T, H, W) -> (B, C, T, ceil(H/4), ceil(W/4))."""
        if not _by_frames(x):
            if torch.is_autocast_enabled(x.device.type):  # tensor cores want channels last
                x = x.contiguous(memory_format=torch.channels_last_3d)
            return self.pool(F.conv3d(x, self.weight, self.bias, self.stride, self.padding).relu_())
        weight = frames_as_channels(self.weight)
        pool: Any = self.pool
        pooling = [sides[1:] for sides in (pool.kernel_size, pool.stride, pool.padding)]
        out = None
        for t, window in enumerate(frame_windows(x)):
            maps = F.conv2d(window, weight, self.bias, self.stride[1:], self.padding[1:]).relu_()
            maps = F.max_pool2d(maps, *pooling)
            if out is None:
                out = maps.new_empty(len(x), x.shape[2], *maps.shape[-2:], maps.shape[1])
            out[:, t] = maps.permute(0, 2, 3, 1)
        assert out is not None  # a clip has a frame
        return out.permute(0, 4, 1, 2, 3)


class FoldedBottleneck(nn.Module):
    """:class:`Bottleneck` of a CSN; without a projection it overwrites its input on CPUs.

    Args:
        reduce, depthwise, expand: its convolutions, each with its batch norm.
        shortcut: the projection of the shortcut with its batch norm; None: identity.
    """

    reduce_weight: torch.Tensor
    reduce_bias: torch.Tensor
    depthwise_weight: torch.Tensor
    depthwise_bias: torch.Tensor
    expand_weight: torch.Tensor
    expand_bias: torch.Tensor
    shortcut_weight: torch.Tensor
    shortcut_bias: torch.Tensor

    def __init__(
        self,
        reduce: tuple[nn.Conv3d, nn.Module],
        depthwise: tuple[DepthwiseConv3d, nn.Module],
        expand: tuple[nn.Conv3d, nn.Module],
        shortcut: tuple[nn.Conv3d, nn.Module] | None = None,
    ):
        super().__init__()
        self.stride = depthwise[0].stride
        self.project = shortcut is not None
        parts: dict[str, tuple[nn.Conv3d, nn.Module]]
        parts = {"reduce": reduce, "depthwise": depthwise, "expand": expand}
        if shortcut is not None:
            parts["shortcut"] = shortcut
        for name, part in parts.items():
            weight, bias = folded(*part)
            self.register_buffer(f"{name}_weight", weight)
            self.register_buffer(f"{name}_bias", bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C', T', H', W')."""
        return self._by_products(x) if _by_frames(x) else self._by_convolutions(x)

    def _by_convolutions(self, x: torch.Tensor) -> torch.Tensor:
        out = F.conv3d(x, self.reduce_weight, self.reduce_bias).relu_()
        out = F.conv3d(
            out, self.depthwise_weight, self.depthwise_bias, self.stride, 1, 1, out.shape[1]
        ).relu_()
        out = F.conv3d(out, self.expand_weight, self.expand_bias)
        if self.project:
            x = F.conv3d(x, self.shortcut_weight, self.shortcut_bias, self.stride)
        return out.add_(x).relu_()

    def _by_products(self, x: torch.Tensor) -> torch.Tensor:
        clips = x.permute(0, 2, 3, 4, 1).contiguous()  # (B, T, H, W, C); a view of channels-last
        out = clips
        if self.project:
            sides = [-(-side // step) for side, step in zip(x.shape[2:], self.stride)]
            out = clips.new_empty(len(x), *sides, len(self.expand_weight))
        for clip, clip_out in zip(clips, out):
            self._run_clip(clip, clip_out)
        return out.permute(0, 4, 1, 2, 3)

    def _run_clip(self, clip: torch.Tensor, out: torch.Tensor) -> None:
        """Fill ``out`` (T', H', W', C') from ``clip`` (T, H, W, C); both may be the same memory."""
        num_frames, height, width, _ = clip.shape
        step = self.stride[0]
        channels = len(self.reduce_weight)
        chunk = max(1, _CHUNK_NUMBERS // out[0].numel())
        # Reduced frames of a chunk, with one before and one behind it; zeros outside of the clip.
        reduced = clip.new_zeros(chunk * step + 2, height, width, channels)
        known = 1  # frames of the buffer that hold what they should; the first is frame -1
        for first in range(0, len(out), chunk):
            wanted = out[first : first + chunk]
            begin = first * step - 1  # frame at the start of the buffer
            needed = (len(wanted) - 1) * step + 3
            end = min(num_frames, begin + needed)
            fresh = reduced[known : end - begin]
            self._product(clip[begin + known : end], "reduce", out=fresh)
            fresh.relu_()
            reduced[end - begin : needed] = 0
            maps = F.conv3d(
                reduced[None, :needed].permute(0, 4, 1, 2, 3),
                self.depthwise_weight,
                self.depthwise_bias,
                self.stride,
                (0, 1, 1),
                1,
                channels,
            ).relu_()
            maps = maps[0].permute(1, 2, 3, 0).reshape(-1, channels)
            if self.project:
                rows, columns = self.stride[1:]
                frames = clip[first * step : (first + len(wanted)) * step : step]
                self._product(frames[:, ::rows, ::columns], "shortcut", out=wanted)
            wanted.add_(self.expand_bias)
            wanted.view(len(maps), -1).addmm_(maps, self.expand_weight.flatten(1).t())
            wanted.relu_()
            # The last frames are the first ones of the next chunk.
            used = len(wanted) * step
            known = max(0, end - begin - used)
            for frame in range(known):
                reduced[frame] = reduced[used + frame]

    def _product(self, frames: torch.Tensor, name: str, *, out: torch.Tensor) -> None:
        """Compute the 1x1x1 convolution ``name`` of (T, H, W, C) into ``out``, contiguous."""
        weight, bias = getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias")
        rows = frames.reshape(-1, frames.shape[-1])
        torch.addmm(bias, rows, weight.flatten(1).t(), out=out.view(len(rows), len(weight)))


def frames_as_channels(weight: torch.Tensor) -> torch.Tensor:
    """Return the stem's weight (C, 3, 3, 7, 7) for the windows of :func:`frame_windows`."""
    flat = weight.transpose(1, 2).flatten(1, 2)
    return flat.contiguous(memory_format=torch.channels_last)


def frame_windows(clips: torch.Tensor) -> Iterator[torch.Tensor]:
    """For each frame of (B, 3, T, H, W) the nine channels of it and its two neighbours.

    With these a convolution over three frames is a 2-D one. Beyond the ends, frames are zero.

    Yields:
        (B, 9, H, W), channels last.
    """
    padded = F.pad(clips.transpose(1, 2), (0, 0, 0, 0, 0, 0, 1, 1))
    for t in range(clips.shape[2]):
        window = padded[:, t : t + 3].flatten(1, 2)
        yield window.contiguous(memory_format=torch.channels_last)


def _by_frames(x: torch.Tensor) -> bool:
    """Whether to work through the frames one by one: pays on CPUs, where caches are shared."""
    return (
        x.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )


def folded(conv: nn.Conv3d, norm: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of one convolution that does what a convolution and a batch norm do.

    Args:
        conv: without a bias.
        norm: see :func:`is_foldable`; its stored statistics are used.

    Returns:
        weight, in the memory format of ``conv``, and bias (C,).
    """
    with torch.no_grad():
        # In float64: rounding the scale first would cost a digit where variances are small.
        scale = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
        bias = norm.bias.double() - norm.running_mean.double() * scale
        weight = conv.weight.double() * scale.view(-1, 1, 1, 1, 1)
        return weight.to(conv.weight.dtype), bias.to(conv.weight.dtype)
