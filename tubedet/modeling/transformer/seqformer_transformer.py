"""The SeqFormer transformer: queries for instances, and their boxes in every frame.

Wu et al., "SeqFormer: Sequential Transformer for Video Instance Segmentation", ECCV 2022
(https://arxiv.org/abs/2112.08275); parameter names and arithmetic of wjf5203/SeqFormer, with the
frames in the batch instead of loops over them.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tubedet.layers import (
    LayerNorm,
    MultiHeadAttention,
    MultiScaleDeformableAttention,
    as_autocast,
)

from .deformable import DeformableTransformer
from .detr import FeedForward
from .level_tokens import LevelTokens


class SeqFormerCrossAttention(MultiScaleDeformableAttention):
    """Deformable attention whose samples have two projections, for instance and box queries.

    Args:
        dim, num_heads, num_levels, num_points, triton: see :class:`MultiScaleDeformableAttention`.
    """

    def __init__(
        self, dim: int, num_heads: int, num_levels: int, num_points: int, triton: bool = False
    ):
        super().__init__(dim, num_heads, num_levels, num_points, triton)
        self.output_proj_box = nn.Linear(dim, dim)


class SeqFormerDecoderLayer(FeedForward):
    """Box queries look at their frames; the instance query averages what they saw over time.

    The parameters of the box stream carry the suffix ``_box``.

    Args:
        dim: channels C.
        num_heads: attention heads.
        feedforward_dim: channels of both feed-forward layers.
        dropout: of attention weights, feed-forward and residuals.
        num_levels, num_points, triton: of the deformable attention.
    """

    norm1: LayerNorm
    norm1_box: LayerNorm
    norm2: LayerNorm
    norm2_box: LayerNorm
    norm3: LayerNorm
    norm3_box: LayerNorm

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        num_levels: int,
        num_points: int,
        triton: bool = False,
    ):
        super().__init__(dim, feedforward_dim, dropout)
        self.self_attn = MultiHeadAttention(dim, num_heads, dropout)
        self.self_attn_box = MultiHeadAttention(dim, num_heads, dropout)
        self.cross_attn = SeqFormerCrossAttention(dim, num_heads, num_levels, num_points, triton)
        self.linear1_box = nn.Linear(dim, feedforward_dim)
        self.linear2_box = nn.Linear(feedforward_dim, dim)
        for name in ("norm1", "norm2", "norm3"):
            self.add_module(name, LayerNorm(dim))
            self.add_module(f"{name}_box", LayerNorm(dim))
        # Without a bias, which the softmax over frames would cancel.
        self.time_attention_weights = nn.Linear(dim, 1, bias=False)

    def forward(
        self,
        instances: torch.Tensor,
        boxes: torch.Tensor,
        query_pos: torch.Tensor,
        references: torch.Tensor,
        memory: torch.Tensor,
        levels: LevelTokens,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Update both streams of queries.

        Args:
            instances: (B, Q, C).
            boxes: (B, T, Q, C).
            query_pos: (B, Q, C), position code of the queries, the same in all frames.
            references: (B, T, Q, 2) points or (B, T, Q, 4) boxes as fractions of the unpadded
                frames.
            memory: (B·T, S, C), encoded cells of ``levels``.

        Returns:
            new instances and boxes, shaped as before.
        """
        num_frames = boxes.shape[1]
        q = instances + query_pos
        instances = self.norm2(instances + self.dropout(self.self_attn(q, q, instances)))

        boxes = boxes.flatten(0, 1)
        query_pos = query_pos.repeat_interleave(num_frames, dim=0)
        q = boxes + query_pos
        boxes = self.norm2_box(boxes + self.dropout(self.self_attn_box(q, q, boxes)))

        references = levels.on_every_level(references.flatten(0, 1))
        seen = self.cross_attn.sample(
            boxes + query_pos, references, memory, levels.shapes, levels.mask
        )
        boxes = self.norm1_box(boxes + self.dropout(self.cross_attn.output_proj_box(seen)))
        boxes = self.norm3_box(self._feed_forward_box(boxes)).unflatten(0, (-1, num_frames))

        # The projection is linear and the weights add up to one: average first, project once.
        weights = self.time_attention_weights(boxes).softmax(1)
        seen = (seen.unflatten(0, (-1, num_frames)) * weights).sum(1)
        instances = self.norm1(instances + self.dropout(self.cross_attn.output_proj(seen)))
        return self.norm3(self.feed_forward(instances)), boxes

    def _feed_forward_box(self, x):
        return x + self.dropout(self.linear2_box(self.dropout(F.relu(self.linear1_box(x)))))


class SeqFormerDecoder(nn.Module):
    """A stack of :class:`SeqFormerDecoderLayer`, whose arguments are ``layer``.

    Args:
        num_layers: number of layers.
        box_refine: the boxes of a layer are the references of the next one, frame by frame and
            without a gradient between the layers. Otherwise all layers keep the first references.
    """

    def __init__(self, num_layers: int, box_refine: bool, **layer):
        super().__init__()
        self.box_refine = box_refine
        self.layers = nn.ModuleList(SeqFormerDecoderLayer(**layer) for _ in range(num_layers))

    def forward(
        self,
        content: torch.Tensor,
        query_pos: torch.Tensor,
        references: torch.Tensor,
        memory: torch.Tensor,
        levels: LevelTokens,
        box_heads: Sequence[Any],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode the queries, see :meth:`SeqFormerDecoderLayer.forward`.

        Args:
            content: (B, Q, C), where both streams start.
            box_heads: a :class:`~tubedet.modeling.heads.BoxHead` for each layer; they belong to
                the caller, and may be one and the same.

        Returns:
            instance queries (N, B, Q, C) and boxes (N, B, T, Q, 4) cxcywh after each of the N
            layers.
        """
        instances = content
        box_queries = content[:, None].expand(-1, references.shape[1], -1, -1)
        outputs, boxes = [], []
        for layer, box_head in zip(self.layers, box_heads, strict=True):
            instances, box_queries = layer(
                instances, box_queries, query_pos, references, memory, levels
            )
            outputs.append(instances)
            boxes.append(box_head.refine(box_queries, references))
            if self.box_refine:
                references = boxes[-1].detach()
        return torch.stack(outputs), torch.stack(boxes)


class SeqFormerTransformer(DeformableTransformer):
    """Deformable encoder over the pyramid of every frame, and the decoder of the clip's queries.

    Args: those of :class:`DeformableTransformer`; the first references are learned.
    """

    decoder_class = SeqFormerDecoder

    def forward(
        self,
        maps: list[torch.Tensor],
        positions: list[torch.Tensor],
        masks: list[torch.Tensor],
        queries: torch.Tensor,
        box_heads: Sequence[Any],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Detect with learned queries.

        Args:
            maps: per level (B, T, C, H_l, W_l).
            positions: their position codes (B, C, H_l, W_l), the same in all frames.
            masks: per level bool (B, H_l, W_l), True on padded cells.
            queries: (Q, 2·C), position code and content.
            box_heads: one for each decoder layer.

        Returns:
            instance queries (N, B, Q, C) and boxes (N, B, T, Q, 4), see
            :meth:`SeqFormerDecoder.forward`.
        """
        batch, num_frames = maps[0].shape[:2]
        memory, levels = self.encode(
            [x.flatten(0, 1) for x in maps],
            [x.repeat_interleave(num_frames, dim=0) for x in positions],
            [x.repeat_interleave(num_frames, dim=0) for x in masks],
        )
        query_pos, content = queries.expand(batch, -1, -1).chunk(2, dim=-1)
        references = self.first_references(query_pos)[:, None].expand(-1, num_frames, -1, -1)
        content, query_pos = as_autocast(content), as_autocast(query_pos)
        return self.decoder(content, query_pos, references, memory, levels, box_heads)
