"""ROIAlign over a pyramid by ``grid_sample``, an operator that every exported format has.

He et al., "Mask R-CNN", ICCV 2017 (https://arxiv.org/abs/1703.06870); arithmetic of torchvision's
``roi_align(aligned=True)`` and of detectron2's ``ROIPooler``.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class RegionSampling(nn.Module):
    """Pools the regions of all boxes on every level and keeps the level that fits each box.

    detectron2's pooler sorts the boxes by level instead, so the shapes in it depend on values, and
    takes their clips from a list. This costs one sampling per level and works for any batch.

    Args:
        resolution: cells P of a side of a region.
        scales: 1 / stride of the levels, fine to coarse.
        sampling_ratio: samples per side of a cell, averaged.
        min_level: binary logarithm of the first level's stride.
        canonical_level: the level of a box with ``canonical_box_size``, likewise a logarithm.
        canonical_box_size: see :class:`~tubedet.modeling.heads.DynamicHead`.
    """

    def __init__(
        self,
        *,
        resolution: int,
        scales: Sequence[float],
        sampling_ratio: int,
        min_level: int,
        canonical_level: int,
        canonical_box_size: int,
    ):
        super().__init__()
        self.resolution = resolution
        self.scales = tuple(scales)
        self.sampling_ratio = sampling_ratio
        self.min_level = min_level
        self.canonical_level = canonical_level
        self.canonical_box_size = canonical_box_size

    def forward(self, levels: list[torch.Tensor], boxes: torch.Tensor) -> torch.Tensor:
        """Pool regions.

        Args:
            levels: pyramid maps (B, C, H_l, W_l), fine to coarse.
            boxes: (B, R, 4), XYXY pixels of the clip.

        Returns:
            (B·R, C, P, P).
        """
        chosen = self._levels_of(boxes)[:, None, :, None]
        sampled: Any = 0
        for index, (level, scale) in enumerate(zip(levels, self.scales)):
            on_level = self._samples(level, boxes * scale - 0.5)
            sampled = sampled + torch.where(chosen == index, on_level, 0.0)
        cells = (self.resolution, self.sampling_ratio)
        means = sampled.unflatten(-1, (*cells, *cells)).mean((-1, -3))
        return means.transpose(1, 2).flatten(0, 1)

    def _levels_of(self, boxes: torch.Tensor) -> torch.Tensor:
        """Index of the level of every box: (B, R)."""
        sides = (boxes[..., 2:] - boxes[..., :2]).prod(-1).sqrt()
        level = torch.floor(
            self.canonical_level + torch.log2(sides / self.canonical_box_size + 1e-8)
        )
        last = self.min_level + len(self.scales) - 1
        return level.clamp(self.min_level, last).long() - self.min_level

    def _samples(self, level: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """Sample a level (B, C, H, W) in boxes (B, R, 4) of its cells: (B, C, R, (P·S)²)."""
        count = self.resolution * self.sampling_ratio
        height, width = level.shape[-2:]
        steps = (torch.arange(count, device=boxes.device, dtype=boxes.dtype) + 0.5) / count
        x, y = (
            boxes[..., axis, None] + (boxes[..., axis + 2, None] - boxes[..., axis, None]) * steps
            for axis in (0, 1)
        )
        # Up to one cell outside of the map the border counts, beyond that zero.
        inside = ((y >= -1) & (y <= height))[..., :, None] & ((x >= -1) & (x <= width))[
            ..., None, :
        ]
        # From cell centres to grid_sample's -1 .. 1 across the map.
        grid_x = ((2 * x + 1) / width - 1)[..., None, :].expand(-1, -1, count, -1)
        grid_y = ((2 * y + 1) / height - 1)[..., :, None].expand(-1, -1, -1, count)
        grid = torch.stack((grid_x, grid_y), dim=-1).flatten(2, 3)
        values = F.grid_sample(level, grid, padding_mode="border", align_corners=False)
        return values * inside.flatten(2).to(values.dtype)[:, None]
