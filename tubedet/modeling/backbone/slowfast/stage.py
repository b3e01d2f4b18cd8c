"""A stage of PySlowFast's residual networks: bottlenecks of its pathways, and non-local layers.

Names and arithmetic are those of facebookresearch/SlowFast.
"""

from collections.abc import Sequence

import torch
from torch import nn

from tubedet.layers import EvaluatedBatchNorm3d, get_norm_3d

NORM_EPS = 1e-5
EXPANSION = 4
# What keys and values of a non-local layer are pooled by, in time and space.
NON_LOCAL_POOL = (2, 2, 2)


def norm_3d(name: str, num_features: int, eps: float) -> nn.Module:
    """Build a norm of :func:`get_norm_3d`, or "EvalBN", an :class:`EvaluatedBatchNorm3d`.

    Args:
        name: of the norm.
        num_features: channels C.
        eps: added to the variance.
    """
    if name == "EvalBN":
        return EvaluatedBatchNorm3d(num_features, eps=eps)
    return get_norm_3d(name, num_features, eps)


class Bottleneck(nn.Module):
    """Convolutions over time, over space, and of channels, each with a norm, and a shortcut.

    Args:
        in_channels: of the input.
        mid_channels: between the convolutions; the output has four times as many.
        steps: time steps that the first convolution sees.
        stride: in space, of the second one.
        project: whether the shortcut is a strided convolution.
        norm: see :func:`norm_3d`.
    """

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        steps: int,
        stride: int,
        project: bool,
        norm: str,
    ):
        super().__init__()
        out_channels, spatial = EXPANSION * mid_channels, (1, stride, stride)
        self.branch1: nn.Conv3d | None = None
        if project:
            self.branch1 = nn.Conv3d(in_channels, out_channels, 1, spatial, bias=False)
            self.branch1_bn = norm_3d(norm, out_channels, NORM_EPS)
        time, padding = (steps, 1, 1), (steps // 2, 0, 0)
        self.branch2 = nn.ModuleDict(
            {
                "a": nn.Conv3d(in_channels, mid_channels, time, 1, padding, bias=False),
                "a_bn": norm_3d(norm, mid_channels, NORM_EPS),
                "b": nn.Conv3d(
                    mid_channels, mid_channels, (1, 3, 3), spatial, (0, 1, 1), bias=False
                ),
                "b_bn": norm_3d(norm, mid_channels, NORM_EPS),
                "c": nn.Conv3d(mid_channels, out_channels, 1, bias=False),
                "c_bn": norm_3d(norm, out_channels, NORM_EPS),
            }
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C', T, H', W')."""
        layers = self.branch2
        y = layers["a_bn"](layers["a"](x)).relu_()
        y = layers["b_bn"](layers["b"](y)).relu_()
        y = layers["c_bn"](layers["c"](y))
        return (y + (x if self.branch1 is None else self.branch1_bn(self.branch1(x)))).relu_()


class NonLocal(nn.Module):
    """Every cell of a map gets the mean of all cells, weighted by products ("dot product").

    Wang et al., "Non-local Neural Networks", CVPR 2018 (https://arxiv.org/abs/1711.07971).

    Args:
        channels: of the map; half as many inside.
        norm: see :func:`norm_3d`.
    """

    def __init__(self, channels: int, norm: str):
        super().__init__()
        inner = channels // 2
        self.pool = nn.MaxPool3d(NON_LOCAL_POOL, NON_LOCAL_POOL)
        self.conv_theta = nn.Conv3d(channels, inner, 1)
        self.conv_phi = nn.Conv3d(channels, inner, 1)
        self.conv_g = nn.Conv3d(channels, inner, 1)
        self.conv_out = nn.Conv3d(inner, channels, 1)
        self.bn = norm_3d(norm, channels, NORM_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C, T, H, W)."""
        pooled = self.pool(x)
        query = self.conv_theta(x).flatten(2)
        key, value = self.conv_phi(pooled).flatten(2), self.conv_g(pooled).flatten(2)
        # Without a softmax the products with keys and values can be taken in any order, and the
        # matrix of channels by channels is the smaller one.
        mean = value @ key.transpose(1, 2) / key.shape[2]
        y = (mean @ query).unflatten(2, x.shape[2:])
        return x + self.bn(self.conv_out(y))


class ResidualStage(nn.Module):
    """Bottlenecks of each pathway, and non-local layers after some of the first pathway.

    Args:
        in_channels: of each pathway.
        mid_channels: likewise, see :class:`Bottleneck`.
        num_blocks: bottlenecks of a pathway.
        steps: of each pathway, time steps that the bottlenecks see.
        num_temporal: bottlenecks that see them, the first ones; the others see one step.
        stride: in space, of the first one.
        non_local: indices of the bottlenecks of the first pathway before a non-local layer.
        norm: see :func:`norm_3d`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        mid_channels: Sequence[int],
        num_blocks: int,
        steps: Sequence[int],
        num_temporal: int,
        stride: int,
        non_local: Sequence[int],
        norm: str,
    ):
        super().__init__()
        self.num_pathways, self.num_blocks, self.non_local = len(steps), num_blocks, non_local
        for pathway, (channels, mid, number) in enumerate(zip(in_channels, mid_channels, steps)):
            for index in range(num_blocks):
                first = index == 0
                block = Bottleneck(
                    channels if first else EXPANSION * mid,
                    mid,
                    number if index < num_temporal else 1,
                    stride if first else 1,
                    first,
                    norm,
                )
                self.add_module(f"pathway{pathway}_res{index}", block)
                if pathway == 0 and index in non_local:
                    layer = NonLocal(EXPANSION * mid, norm)
                    self.add_module(f"pathway{pathway}_nonlocal{index}", layer)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Compute the maps (B, C, T, H, W) of the pathways."""
        outputs = []
        for pathway, x in enumerate(maps):
            for index in range(self.num_blocks):
                x = getattr(self, f"pathway{pathway}_res{index}")(x)
                if pathway == 0 and index in self.non_local:
                    x = getattr(self, f"pathway{pathway}_nonlocal{index}")(x)
            outputs.append(x)
        return outputs
