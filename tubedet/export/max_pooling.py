"""Max pooling whose output shape every supported PyTorch can state for maps of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class AnySizeMaxPool3d(nn.MaxPool3d):
    """``nn.MaxPool3d`` that lets a program with free sides take even and odd maps.

    PyTorch before 2.13 asks for the remainder of side and stride when it traces a pooling, and
    restricts the program to sides with the same remainder ("Constraints violated"). Here a free
    side is padded so that stride 2 leaves the same one for all. The output stays as it is: its
    windows end where they did, and there the pooling has its own padding. Sides that are fixed
    are not padded.

    Args:
        pool: the pooling to do, without ``ceil_mode``.
    """

    kernel_size: tuple[int, int, int]
    stride: tuple[int, int, int]
    padding: tuple[int, int, int]
    dilation: tuple[int, int, int]

    def __init__(self, pool: nn.MaxPool3d):
        arguments = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
        kernel_size, stride, padding, dilation = (
            (x, x, x) if isinstance(x, int) else tuple(x) for x in arguments
        )
        super().__init__(kernel_size, stride, padding, dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C, T', H', W')."""
        margins: list = []
        for axis, side in enumerate(x.shape[2:]):
            margin = 0
            if self.stride[axis] == 2 and not isinstance(side, int):
                window = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
                steps = side + 2 * self.padding[axis] - window
                # Written so that PyTorch sees a multiple of 2, and 1, in the steps that it gets.
                margin = 2 * (steps // 2) + 1 - steps
            margins = [0, margin, *margins]
        if not all(isinstance(margin, int) for margin in margins):
            x = F.pad(x, margins, value=-torch.inf)
        return super().forward(x)


def pool_any_size(model: nn.Module) -> None:
    """Replace the max poolings of a model, in place, by :class:`AnySizeMaxPool3d`."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.MaxPool3d and not (child.ceil_mode or child.return_indices):
                setattr(parent, name, AnySizeMaxPool3d(child))
