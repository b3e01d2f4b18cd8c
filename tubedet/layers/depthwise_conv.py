"""Depthwise 3x3x3 convolution that also trains fast on CPUs."""

import torch
import torch.nn.functional as F
from torch import nn


class DepthwiseConv3d(nn.Conv3d):
    """Depthwise 3x3x3 convolution with padding 1 and without bias.

    PyTorch's CPU gradient of a depthwise 3-D convolution is about ten times slower than that of
    the 2-D one, so on a CPU, when gradients are wanted, the kernel is applied as three 2-D ones
    to the previous, the same and the next frame. The result differs by rounding only.

    Args:
        channels: C.
        stride: (time, row, column).
    """

    def __init__(self, channels: int, stride: tuple[int, int, int]):
        super().__init__(channels, channels, 3, stride, 1, groups=channels, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C, T', H', W'), every side n becoming ceil(n / stride)."""
        if x.device.type == "cpu" and torch.is_grad_enabled():
            return self._by_frames(x)
        return super().forward(x)

    def _by_frames(self, x: torch.Tensor) -> torch.Tensor:
        b, _, num_frames, _, _ = x.shape
        step = self.stride[0]
        frames = x.transpose(1, 2)
        out = None
        for tap in (1, 0, 2):  # the middle tap reaches every output frame, so it comes first
            # Output frame t takes input frame t * step + tap - 1, if there is one.
            first = 1 if tap == 0 else 0
            taken = frames[:, first * step + tap - 1 :: step]
            if taken.shape[1] == 0:
                continue
            part = F.conv2d(
                taken.flatten(0, 1),
                self.weight[:, :, tap],
                stride=self.stride[1:],
                padding=1,
                groups=self.groups,
            ).unflatten(0, (b, -1))
            if out is None:
                out = part
            else:
                missing = out.shape[1] - part.shape[1] - first
                out = out + F.pad(part, (0, 0, 0, 0, 0, 0, first, missing))
        return out.transpose(1, 2)
