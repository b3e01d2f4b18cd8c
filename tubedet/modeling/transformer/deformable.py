"""The deformable transformer.

Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection", ICLR 2021
(https://arxiv.org/abs/2010.04159); parameter names and arithmetic as in
fundamentalvision/Deformable-DETR.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn

from tubedet.layers import (
    LayerNorm,
    MultiHeadAttention,
    MultiScaleDeformableAttention,
    PreciseLinear,
    as_autocast,
)

from .detr import FeedForward
from .level_tokens import LevelTokens


class DeformableEncoderLayer(FeedForward):
    """Deformable self attention of the cells and feed-forward, each followed by a layer norm.

    Args:
        dim: channels C.
        num_heads: attention heads.
        feedforward_dim: channels of the feed-forward layers.
        dropout: of the attended values, feed-forward and residuals.
        num_levels, num_points, triton: see :class:`MultiScaleDeformableAttention`.
        attention: makes the attention from width, heads, levels, points and ``triton``.
    """

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
        attention: Callable[..., nn.Module] = MultiScaleDeformableAttention,
    ):
        super().__init__(dim, feedforward_dim, dropout)
        self.self_attn = attention(dim, num_heads, num_levels, num_points, triton=triton)
        self.norm1 = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)

    def forward(
        self,
        x: torch.Tensor,
        references: torch.Tensor,
        levels: LevelTokens,
        wanted: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Encode the cells.

        Args:
            x: (B, S, C).
            references: (B, S, L, n), places of the cells on every level.
            levels: where the cells are.
            wanted: int64 (N,), the cells to encode; all of them are looked at. None: all cells.

        Returns:
            (B, S or N, C).
        """
        query, memory = x + levels.pos, x
        if wanted is not None:
            query, references, x = (y.index_select(1, wanted) for y in (query, references, x))
        attended = self.self_attn(query, references, memory, levels.shapes, levels.mask)
        x = self.norm1(x + self.dropout(attended))
        return self.norm2(self.feed_forward(x))


class DeformableEncoder(nn.Module):
    """A stack of :class:`DeformableEncoderLayer`, whose arguments are ``layer``."""

    def __init__(self, num_layers: int, **layer):
        super().__init__()
        self.layers = nn.ModuleList(DeformableEncoderLayer(**layer) for _ in range(num_layers))

    def forward(self, levels: LevelTokens, wanted: torch.Tensor | None = None) -> torch.Tensor:
        """Encode the cells, each looking around its own place on every level.

        Args:
            levels: the cells.
            wanted: int64 (N,), the cells that are needed afterwards; None: all.

        Returns:
            (B, S or N, C).
        """
        references = levels.on_every_level(levels.centres())
        x = levels.tokens
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            x = layer(x, references, levels, wanted if index == last else None)
        return x


class DeformableDecoderLayer(FeedForward):
    """Self attention of the queries, deformable cross attention, feed-forward; post-norm.

    Arguments as in :class:`DeformableEncoderLayer`. ``norm2`` follows the self attention and
    ``norm1`` the cross attention, as in the published weights.
    """

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
        self.cross_attn = MultiScaleDeformableAttention(
            dim, num_heads, num_levels, num_points, triton
        )
        self.self_attn = MultiHeadAttention(dim, num_heads, dropout)
        self.norm1 = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)
        self.norm3 = LayerNorm(dim)

    def forward(
        self,
        x: torch.Tensor,
        query_pos: torch.Tensor,
        references: torch.Tensor,
        memory: torch.Tensor,
        levels: LevelTokens,
    ) -> torch.Tensor:
        """Decode the queries.

        Args:
            x, query_pos: content and position (B, Q, C).
            references: (B, Q, 2) points or (B, Q, 4) boxes as fractions of the unpadded images.
            memory: (B, S, C), encoded cells of ``levels``.

        Returns:
            (B, Q, C).
        """
        q = x + query_pos
        x = self.norm2(x + self.dropout(self.self_attn(q, q, x)))
        references = levels.on_every_level(references)
        attended = self.cross_attn(x + query_pos, references, memory, levels.shapes, levels.mask)
        x = self.norm1(x + self.dropout(attended))
        return self.norm3(self.feed_forward(x))


class DeformableDecoder(nn.Module):
    """A stack of :class:`DeformableDecoderLayer`, whose arguments are ``layer``.

    Args:
        num_layers: number of layers.
        box_refine: the boxes of a layer are the references of the next one, without a gradient
            between the layers. Otherwise all layers keep the first references.
    """

    def __init__(self, num_layers: int, box_refine: bool, **layer):
        super().__init__()
        self.box_refine = box_refine
        self.layers = nn.ModuleList(DeformableDecoderLayer(**layer) for _ in range(num_layers))

    def forward(
        self,
        x: torch.Tensor,
        query_pos: torch.Tensor,
        references: torch.Tensor,
        memory: torch.Tensor,
        levels: LevelTokens,
        box_heads: Sequence[Any],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode the queries, see :meth:`DeformableDecoderLayer.forward`.

        Args:
            box_heads: a :class:`~tubedet.modeling.heads.BoxHead` for each layer; they belong to
                the caller, and may be one and the same.

        Returns:
            queries (N, B, Q, C) and boxes (N, B, Q, 4) cxcywh after each of the N layers.
        """
        queries, boxes = [], []
        for layer, box_head in zip(self.layers, box_heads, strict=True):
            x = layer(x, query_pos, references, memory, levels)
            queries.append(x)
            boxes.append(box_head.refine(x, references))
            if self.box_refine:
                references = boxes[-1].detach()
        return torch.stack(queries), torch.stack(boxes)


def deformable_arguments(node: CfgNode) -> dict[str, Any]:
    """Return what architectures with a deformable transformer read of their node.

    Args:
        node: such as ``MODEL.SEQFORMER``.
    """
    return {
        "hidden_dim": node.HIDDEN_DIM,
        "num_heads": node.NUM_HEADS,
        "feedforward_dim": node.FEEDFORWARD_DIM,
        "enc_layers": node.ENC_LAYERS,
        "dec_layers": node.DEC_LAYERS,
        "dropout": node.DROPOUT,
        "num_levels": node.NUM_LEVELS,
        "enc_points": node.ENC_POINTS,
        "dec_points": node.DEC_POINTS,
        "box_refine": node.BOX_REFINE,
    }


class DeformableTransformer(nn.Module):
    """Encoder over a feature pyramid and decoder of queries.

    Args:
        dim: channels C.
        num_heads: attention heads.
        feedforward_dim: channels of the feed-forward layers.
        enc_layers, dec_layers: numbers of layers.
        dropout: of attention, feed-forward and residuals.
        num_levels: levels L of the pyramid.
        enc_points, dec_points: sampled points per head and level.
        box_refine: see :class:`DeformableDecoder`.
        learned_references: the first references are linear in the position of the queries, not
            given by the caller.
    """

    decoder_class: type[nn.Module] = DeformableDecoder

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        enc_layers: int,
        dec_layers: int,
        dropout: float,
        num_levels: int,
        enc_points: int,
        dec_points: int,
        box_refine: bool,
        learned_references: bool = True,
        triton: bool = False,
    ):
        super().__init__()
        layer = {
            "dim": dim,
            "num_heads": num_heads,
            "feedforward_dim": feedforward_dim,
            "dropout": dropout,
            "num_levels": num_levels,
            "triton": triton,
        }
        self.encoder = DeformableEncoder(enc_layers, num_points=enc_points, **layer)
        self.decoder = self.decoder_class(dec_layers, box_refine, num_points=dec_points, **layer)
        self.level_embed = nn.Parameter(torch.empty(num_levels, dim))
        self.reference_points = PreciseLinear(dim, 2) if learned_references else None
        self._reset_parameters()

    def encode(
        self, maps: list[torch.Tensor], positions: list[torch.Tensor], masks: list[torch.Tensor]
    ) -> tuple[torch.Tensor, LevelTokens]:
        """Encode a pyramid given as for :meth:`LevelTokens.from_maps`.

        Returns:
            memory (B, S, C), and the cells it was made from.
        """
        levels = LevelTokens.from_maps(maps, positions, masks, self.level_embed)
        return self.encoder(levels), levels

    def decode(
        self,
        content: torch.Tensor,
        query_pos: torch.Tensor,
        memory: torch.Tensor,
        levels: LevelTokens,
        box_heads: Sequence[Any],
        references: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode queries.

        Args:
            content, query_pos: (B, Q, C).
            memory, levels: results of :meth:`encode`.
            box_heads: one for each layer.
            references: (B, Q, 4) boxes as fractions of the unpadded images, unless learned.

        Returns:
            queries and boxes after each layer, see :meth:`DeformableDecoder.forward`.
        """
        if self.reference_points is not None:
            references = self.first_references(query_pos)
        content, query_pos = as_autocast(content), as_autocast(query_pos)
        return self.decoder(content, query_pos, references, memory, levels, box_heads)

    def first_references(self, query_pos: torch.Tensor) -> torch.Tensor:
        """Return the learned references (B, Q, 2), fractions of images, of positions (B, Q, C)."""
        assert self.reference_points is not None  # they are learned
        return self.reference_points(query_pos).sigmoid()

    def _reset_parameters(self) -> None:
        """Return the published initialisation."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, MultiScaleDeformableAttention):
                module.reset_parameters()
        nn.init.normal_(self.level_embed)
        if self.reference_points is not None:
            nn.init.zeros_(self.reference_points.bias)
