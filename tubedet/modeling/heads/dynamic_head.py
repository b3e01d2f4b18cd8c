"""The dynamic head of Sparse R-CNN: proposals refined stage by stage.

Sun et al., "Sparse R-CNN: End-to-End Object Detection with Learnable Proposals", CVPR 2021
(https://arxiv.org/abs/2011.12450); parameter names and arithmetic of PeizeSun/SparseR-CNN.
"""

import math
from typing import Any, NamedTuple

import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.poolers import ROIPooler, assign_boxes_to_levels
from detectron2.structures import Boxes
from torch import nn

from tubedet.layers import LayerNorm, MultiHeadAttention, PreciseLinear
from tubedet.modeling.transformer.detr import FeedForward

from .action_head import set_prior

BOX_WEIGHTS = (2.0, 2.0, 1.0, 1.0)
# One stage lets a side grow to at most this multiple of itself (exp of the clamp).
SCALE_CLAMP = math.log(100000 / 16)
# A coordinate, in pixels, that is on no map.
OUTSIDE = -1e6


class RegionPooler(ROIPooler):
    """detectron2's ``ROIPooler``, whose arguments it has, for equally many boxes in every clip."""

    def forward(self, levels: list[torch.Tensor], boxes: torch.Tensor) -> torch.Tensor:
        """Pool regions.

        Args:
            levels: pyramid maps (B, C, H_l, W_l), fine to coarse.
            boxes: (B, R, 4), XYXY pixels of the clip.

        Returns:
            (B·R, C, P, P).
        """
        if boxes.device.type == "cuda":
            return self.without_waiting(levels, boxes)
        return super().forward(levels, [Boxes(b) for b in boxes])

    def without_waiting(self, levels: list[torch.Tensor], boxes: torch.Tensor) -> torch.Tensor:
        """Pool the same regions without a wait for the GPU.

        detectron2 sorts boxes by level, and the host has to know how many each level gets. Here
        every level pools all boxes, of which those of other levels lie outside of its map: a GPU
        reads nothing for them and gives zero. On CPUs they cost as much as all others.
        """
        flat = boxes.flatten(0, 1)
        clips = torch.arange(len(boxes), device=boxes.device, dtype=boxes.dtype)
        clips = clips[:, None, None].expand(-1, boxes.shape[1], 1).flatten(0, 1)
        if len(levels) == 1:
            return self.level_poolers[0](levels[0], torch.cat((clips, flat), dim=1))
        level_of_box = assign_boxes_to_levels(
            [Boxes(flat)],
            self.min_level,
            self.max_level,
            self.canonical_box_size,
            self.canonical_level,
        )
        pooled: Any = 0
        for index, (pooler, level) in enumerate(zip(self.level_poolers, levels)):
            elsewhere = (level_of_box != index)[:, None]
            here = torch.cat((clips, flat.masked_fill(elsewhere, OUTSIDE)), dim=1)
            pooled = pooled + pooler(level, here)
        return pooled


class DynamicConv(nn.Module):
    """Two 1x1 convolutions over a proposal's region, with weights made from the proposal.

    Args:
        dim: channels C of proposals and regions.
        dynamic_dim: channels D between the two convolutions.
        num_cells: cells P of a region.
    """

    def __init__(self, dim: int, dynamic_dim: int, num_cells: int):
        super().__init__()
        self.dim = dim
        self.dynamic_dim = dynamic_dim
        self.dynamic_layer = nn.Linear(dim, 2 * dim * dynamic_dim)
        self.norm1 = LayerNorm(dynamic_dim)
        self.norm2 = LayerNorm(dim)
        self.out_layer = nn.Linear(num_cells * dim, dim)
        self.norm3 = LayerNorm(dim)

    def forward(self, proposals: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        """Proposals (N, C) and their regions (N, P, C), row by row -> (N, C)."""
        first, second = self.dynamic_layer(proposals).chunk(2, dim=-1)
        x = torch.bmm(regions, first.view(-1, self.dim, self.dynamic_dim))
        x = self.norm1(x).relu_()
        x = torch.bmm(x, second.view(-1, self.dynamic_dim, self.dim))
        x = self.norm2(x).relu_()
        return self.norm3(self.out_layer(x.flatten(1))).relu_()


class StageOutput(NamedTuple):
    """What a stage makes of R proposals.

    Attributes:
        logits: (B, R, K).
        boxes: (B, R, 4), refined, float32 XYXY pixels that may leave the image.
        proposals: (B, R, C), for the next stage.
        features: (B, R, C), of which the logits are made.
    """

    logits: torch.Tensor
    boxes: torch.Tensor
    proposals: torch.Tensor
    features: torch.Tensor


class DynamicHeadStage(FeedForward):
    """One refinement of all proposals, with a classifier and a box regressor of its own.

    Args:
        dim: channels C.
        num_outputs: logits K of a proposal.
        num_heads: attention heads.
        feedforward_dim: channels of the feed-forward layer.
        dynamic_dim, num_cells: of :class:`DynamicConv`.
        num_cls, num_reg: layers before the classifier and before the box regressor.
        dropout: of attention weights, feed-forward and residuals.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_outputs: int,
        num_heads: int,
        feedforward_dim: int,
        dynamic_dim: int,
        num_cells: int,
        num_cls: int,
        num_reg: int,
        dropout: float,
    ):
        super().__init__(dim, feedforward_dim, dropout)
        self.self_attn = MultiHeadAttention(dim, num_heads, dropout)
        self.inst_interact = DynamicConv(dim, dynamic_dim, num_cells)
        self.norm1 = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)
        self.norm3 = LayerNorm(dim)
        self.cls_module = _tower(dim, num_cls)
        self.reg_module = _tower(dim, num_reg)
        self.class_logits = nn.Linear(dim, num_outputs)
        self.bboxes_delta = PreciseLinear(dim, 4)
        self.box_transform = Box2BoxTransform(BOX_WEIGHTS, SCALE_CLAMP)

    def forward(
        self, proposals: torch.Tensor, boxes: torch.Tensor, regions: torch.Tensor
    ) -> StageOutput:
        """Refine the proposals by what their boxes show.

        Args:
            proposals: features (B, R, C).
            boxes: (B, R, 4) XYXY pixels.
            regions: features (B·R, P, C) in the boxes.
        """
        attended = self.self_attn(proposals, proposals, proposals)
        x = self.norm1(proposals + self.dropout(attended))
        gathered = self.inst_interact(x.flatten(0, 1), regions).view_as(x)
        x = self.norm2(x + self.dropout(gathered))
        x = self.norm3(self.feed_forward(x))
        features = self.cls_module(x)
        logits = self.class_logits(features)
        deltas = self.bboxes_delta(self.reg_module(x))
        refined = self.box_transform.apply_deltas(deltas.flatten(0, 1), boxes.flatten(0, 1))
        return StageOutput(logits, refined.view_as(boxes), x, features)


class DynamicHead(nn.Module):
    """A series of stages, each of which pools its regions in the boxes of the stage before.

    Args:
        num_stages: M.
        dim: channels C of pyramid and proposals.
        num_outputs: logits K of a proposal.
        num_heads, feedforward_dim, dynamic_dim, num_cls, num_reg, dropout: see
            :class:`DynamicHeadStage`.
        strides: of the pyramid levels, doubling from level to level.
        pooler_type, pooler_resolution, pooler_sampling_ratio: see detectron2's ``ROIPooler``.
        canonical_box_size: side of a box, in pixels, that is pooled from the map of stride 16; one
            of half the side is pooled from the map of stride 8, and so on.
        action_prior: initial probability of every output under a sigmoid; None leaves the
            classifier's bias as PyTorch draws it (softmax).
    """

    def __init__(
        self,
        *,
        num_stages: int,
        dim: int,
        num_outputs: int,
        num_heads: int,
        feedforward_dim: int,
        dynamic_dim: int,
        num_cls: int,
        num_reg: int,
        dropout: float,
        strides: list[int],
        pooler_type: str,
        pooler_resolution: int,
        pooler_sampling_ratio: int,
        canonical_box_size: int,
        action_prior: float | None,
    ):
        super().__init__()
        self.box_pooler = RegionPooler(
            output_size=pooler_resolution,
            scales=[1 / stride for stride in strides],
            sampling_ratio=pooler_sampling_ratio,
            pooler_type=pooler_type,
            canonical_box_size=canonical_box_size,
        )
        self.head_series = nn.ModuleList(
            DynamicHeadStage(
                dim=dim,
                num_outputs=num_outputs,
                num_heads=num_heads,
                feedforward_dim=feedforward_dim,
                dynamic_dim=dynamic_dim,
                num_cells=pooler_resolution**2,
                num_cls=num_cls,
                num_reg=num_reg,
                dropout=dropout,
            )
            for _ in range(num_stages)
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        if action_prior is not None:
            # The published loop also hits every other parameter whose last side is K.
            for stage in self.head_series:
                class_logits: Any = stage.class_logits
                set_prior(class_logits, action_prior)

    def forward(
        self, levels: list[torch.Tensor], boxes: torch.Tensor, proposals: torch.Tensor
    ) -> list[StageOutput]:
        """Refine the proposals in all stages.

        Gradients pass from stage to stage through the proposals' features, not their boxes.

        Args:
            levels: pyramid maps (B, C, H_l, W_l), fine to coarse.
            boxes: first boxes (B, R, 4), XYXY pixels of the clip.
            proposals: first features (B, R, C).

        Returns:
            what each stage makes of them.
        """
        # ROIAlign rounds the boxes to the maps' dtype: half precision would be off by pixels.
        levels = [level.to(boxes.dtype) for level in levels]
        outputs: list[StageOutput] = []
        for stage in self.head_series:
            regions = self.box_pooler(levels, boxes.detach())
            regions = regions.flatten(2).transpose(1, 2)
            outputs.append(stage(proposals, boxes, regions))
            boxes, proposals = outputs[-1].boxes.detach(), outputs[-1].proposals
        return outputs


def _tower(dim: int, num_layers: int) -> nn.Sequential:
    layers = []
    for _ in range(num_layers):
        layers += [nn.Linear(dim, dim, bias=False), LayerNorm(dim), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
