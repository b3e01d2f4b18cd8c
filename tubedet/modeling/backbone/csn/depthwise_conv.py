"""Depthwise 3x3x3 convolution that also trains fast on CPUs."""

import torch
import torch.nn.functional as F
from torch import nn

from .large_memory import empty_maps


class DepthwiseConv3d(nn.Conv3d):
    """Depthwise 3x3x3 convolution with padding 1 and without bias.

    PyTorch's CPU gradient of a depthwise 3-D convolution is about ten times slower than that of
    the 2-D one, so on a CPU, when gradients of channels-last maps are wanted, the kernel is applied
    as three 2-D ones to the previous, the same and the next frame. The result differs by rounding
    only.

    Args:
        channels: C.
        stride: (time, row, column).
    """

    def __init__(self, channels: int, stride: tuple[int, int, int]):
        super().__init__(channels, channels, 3, stride, 1, groups=channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C, T', H', W'), every side n becoming ceil(n / stride)."""
        channels_last = x.is_contiguous(memory_format=torch.channels_last_3d)
        if x.device.type == "cpu" and torch.is_grad_enabled() and channels_last:
            return self._by_frames(x)
        return super().forward(x)

    def _by_frames(self, x: torch.Tensor) -> torch.Tensor:
        b, _, num_frames, _, _ = x.shape
        maps = x.transpose(1, 2)
        out = None
        for tap in (1, 0, 2):  # the middle tap reaches every output frame, so it comes first
            frames, outputs = _frames_of_tap(tap, self.stride[0], num_frames)
            if outputs.start == outputs.stop:
                continue
            part = F.conv2d(
                maps[:, frames].flatten(0, 1),
                self.weight[:, :, tap],
                stride=self.stride[1:],
                padding=1,
                groups=self.groups,
            ).unflatten(0, (b, -1))
            if out is None:
                out = part
            else:
                missing = out.shape[1] - outputs.stop
                out = out + F.pad(part, (0, 0, 0, 0, 0, 0, outputs.start, missing))
        assert out is not None  # the middle tap was there
        return out.transpose(1, 2)


def depthwise_gradients(
    grad: torch.Tensor, maps: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Backward pass of a :class:`DepthwiseConv3d`, by 2-D ones where those of 3-D ones are slow.

    Args:
        grad: gradient of the output, (B, T', H', W', C).
        maps: the input, (B, T, H, W, C).
        weight: (C, 1, 3, 3, 3).
        stride: (time, row, column).

    Returns:
        gradients of the input, (B, T, H, W, C), and of the weight.
    """
    if tuple(stride) == (1, 1, 1):
        # The input's gradient is a convolution too, and that is faster as a whole.
        d_out, mirrored = grad.permute(0, 4, 1, 2, 3), weight.flip(2, 3, 4)
        d_maps = F.conv3d(d_out, mirrored, padding=1, groups=len(weight))
        d_maps = d_maps.permute(0, 2, 3, 4, 1).contiguous()
        d_weight = torch.zeros_like(weight)
        for tap in range(3):
            frames, outputs = _frames_of_tap(tap, 1, maps.shape[1])
            if outputs.start < outputs.stop:
                d_part, part = (x.flatten(0, 1) for x in (grad[:, outputs], maps[:, frames]))
                _, d_weight[:, :, tap] = _gradients_2d(
                    d_part, part, weight[:, :, tap], stride[1:], of_input=False
                )
        return d_maps, d_weight
    d_maps, d_weight = empty_maps(maps, *maps.shape).zero_(), torch.zeros_like(weight)
    for tap in range(3):
        slices = _frames_of_tap(tap, stride[0], maps.shape[1])
        read, written = (range(maps.shape[1])[frames] for frames in slices)
        # One frame after the other, because the gradients of one fit into a cache.
        for frame, output in zip(read, written):
            d_frame, d_tap = _gradients_2d(
                grad[:, output], maps[:, frame], weight[:, :, tap], stride[1:], of_input=True
            )
            d_maps[:, frame] += d_frame
            d_weight[:, :, tap] += d_tap
    return d_maps, d_weight


def _gradients_2d(grad, maps, weight, stride, *, of_input):
    """Of a depthwise 3x3 convolution of (N, H, W, C): the input's, or None, and the weight's."""
    d_maps, d_weight, _ = torch.ops.aten.convolution_backward(
        grad.permute(0, 3, 1, 2),
        maps.permute(0, 3, 1, 2),
        weight,
        None,
        stride,
        [1, 1],
        [1, 1],
        False,
        [0, 0],
        len(weight),
        [of_input, True, False],
    )
    return d_maps.permute(0, 2, 3, 1) if of_input else None, d_weight


def _frames_of_tap(tap: int, step: int, num_frames: int) -> tuple[slice, slice]:
    """Which frames the taps 0 .. 2 of a kernel over three frames read, for which outputs.

    Output t reads frame t * step + tap - 1, if there is one.
    """
    first = 1 if tap == 0 else 0
    begin = first * step + tap - 1
    num_outputs = -(-num_frames // step)
    count = min(num_outputs - first, len(range(begin, num_frames, step)))
    return slice(begin, begin + count * step, step), slice(first, first + count)
