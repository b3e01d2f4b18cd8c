"""From backbone maps to a pyramid of one width for deformable attention."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tubedet.errors import UserError

NORM_GROUPS = 32


class MultiLevelProjection(nn.ModuleList):
    """Project every frame of every map to C channels and add coarser levels, as Deformable DETR.

    Each map passes a 1x1 convolution. Each further level is a 3x3 convolution with stride 2, the
    first one of the last map, any other one of the level before. All are followed by group norm.
    Entry l of the list is level l, so that keys are those of the published ``input_proj``.

    Args:
        in_channels: channels of the maps, finest first.
        dim: C, a multiple of 32.
        num_levels: levels L, at least as many as maps.
        space_time: convolve and normalise whole clips instead of single frames: kernels have three
            axes, and further levels keep their time steps.

    Raises:
        UserError: if there are more maps than levels.
    """

    def __init__(
        self, in_channels: Sequence[int], dim: int, num_levels: int, space_time: bool = False
    ):
        if len(in_channels) > num_levels:
            raise UserError(
                f"the backbone returns {len(in_channels)} maps, more than the {num_levels} levels "
                "of NUM_LEVELS; name fewer in MODEL.CSN.OUT_FEATURES, or in MODEL.VIT.OUT_FEATURES "
                "for a ViT"
            )
        conv: type[nn.Conv2d | nn.Conv3d] = nn.Conv3d if space_time else nn.Conv2d
        stride: Any = (1, 2, 2) if space_time else 2
        levels = [_level(conv(channels, dim, 1)) for channels in in_channels]
        channels = in_channels[-1]
        while len(levels) < num_levels:
            levels.append(_level(conv(channels, dim, 3, stride=stride, padding=1)))
            channels = dim
        super().__init__(levels)
        self.space_time = space_time
        self.num_maps = len(in_channels)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Project the maps.

        Args:
            maps: per backbone stage (B, C_l, T_l, H_l, W_l).

        Returns:
            per level (B, T_l, C, H_l, W_l), or (B, C, T_l, H_l, W_l) with ``space_time``; further
            levels have the steps of the last map.
        """
        inputs = maps
        if not self.space_time:
            inputs = [x.transpose(1, 2).flatten(0, 1) for x in maps]
        levels = [project(x) for project, x in zip(self, inputs)]
        coarser = inputs[-1]
        for project in list(self)[self.num_maps :]:
            coarser = project(coarser)
            levels.append(coarser)
        if self.space_time:
            return levels
        return [x.unflatten(0, (maps[0].shape[0], -1)) for x in levels]


def _level(conv: nn.Conv2d | nn.Conv3d) -> nn.Sequential:
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(conv.get_parameter("bias"))
    return nn.Sequential(conv, nn.GroupNorm(NORM_GROUPS, conv.out_channels))
