"""Action classifier of given boxes: pooling in time, RoIAlign, the largest value, a linear layer.

Settings make it the head of VideoMAE-Action-Detection and UMT (MCG-NJU/VideoMAE-Action-Detection,
OpenGVLab/unmasked_teacher), of PySlowFast (``ResNetRoIHead``) or of mmaction2 (``BBoxHeadAVA``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torchvision.ops import roi_align

from tubedet.errors import UserError
from tubedet.layers import at_least_float32, without_autocast
from tubedet.modeling.backbone import TemporalPooling

from .action_head import set_prior

# Pooling in time to one step without weights.
TEMPORAL_POOLS = ("avg", "max")


class RoIActionHead(nn.Module):
    """Classifies what is within boxes.

    Every map is pooled over all its steps, each box is aligned to P x P bins of it, and the largest
    value of a channel counts. Channels of several maps are joined.

    Args:
        channels: of each map.
        strides: spatial stride of each map with respect to the clip.
        num_actions: A.
        first_column: columns of the classifier before that of the first action; 1 for files of
            mmaction2, whose column 0 stands for nothing.
        resolution: P.
        sampling_ratio: samples of a bin along each axis; 0: as many as the bin has cells.
        aligned: shift by half a cell, so that pixel centres meet; without it, as in the first
            RoIAlign, a box is a cell wide and high at least.
        temporal_pool: "avg" or "max".
        dropout: before the classifier.
        action_prior: initial probability of every action.

    Raises:
        UserError: for another ``temporal_pool``, or numbers that make no sense.
    """

    def __init__(
        self,
        *,
        channels: Sequence[int],
        strides: Sequence[int],
        num_actions: int,
        first_column: int = 0,
        resolution: int = 7,
        sampling_ratio: int = 0,
        aligned: bool = False,
        temporal_pool: str = "avg",
        dropout: float = 0.0,
        action_prior: float = 0.5,
    ):
        super().__init__()
        if temporal_pool not in TEMPORAL_POOLS:
            raise UserError(
                f"MODEL.ROI_ACTION.TEMPORAL_POOL is {temporal_pool!r}; choose one of "
                f"{TEMPORAL_POOLS}"
            )
        for key, value, least in (
            ("FIRST_COLUMN", first_column, 0),
            ("POOLER_RESOLUTION", resolution, 1),
            ("POOLER_SAMPLING_RATIO", sampling_ratio, 0),
        ):
            if value < least:
                raise UserError(f"MODEL.ROI_ACTION.{key} is {value}; give at least {least}")
        self.strides = tuple(strides)
        self.first_column = first_column
        self.resolution = resolution
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.time_pool = TemporalPooling(temporal_pool, sum(channels))
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(sum(channels), first_column + num_actions)
        # The published start: close to the same answer for every box.
        nn.init.trunc_normal_(self.fc.weight, std=0.02)
        self.fc.weight.data.mul_(0.001)
        nn.init.zeros_(self.fc.bias)
        if action_prior != 0.5:
            set_prior(self.fc, action_prior)

    def pool_time(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """(B, C, T, H, W) -> (B, C, H, W) for every map; maps without time stay as they are."""
        return [x if x.dim() == 4 else self.time_pool(x).squeeze(2) for x in maps]

    def forward(
        self, maps: Sequence[torch.Tensor], regions: torch.Tensor, *, details: bool = False
    ) -> Any:
        """Classify.

        Args:
            maps: of :meth:`pool_time`.
            regions: (n, 5), the index of the clip and XYXY in pixels of the clip; at least
                float32, because half precision does not know all pixels.
            details: return what the logits are made of, too.

        Returns:
            logits (n, A); with ``details`` a tuple of them and features (n, D), what is within the
            boxes.
        """
        features = torch.cat([x.amax((2, 3)) for x in self.align(maps, regions)], 1)
        logits = self.fc(self.dropout(features))[:, self.first_column :]
        return (logits, features) if details else logits

    def align(self, maps: Sequence[torch.Tensor], regions: torch.Tensor) -> list[torch.Tensor]:
        """Return the bins (n, C, P, P) of all boxes in each map; arguments as of the head."""
        bins = []
        with without_autocast(regions.device):
            for x, stride in zip(maps, self.strides, strict=True):
                x = at_least_float32(x)
                bins.append(
                    roi_align(
                        x,
                        regions.to(x.dtype),
                        output_size=self.resolution,
                        spatial_scale=1 / stride,
                        sampling_ratio=self.sampling_ratio,
                        aligned=self.aligned,
                    )
                )
        return bins
