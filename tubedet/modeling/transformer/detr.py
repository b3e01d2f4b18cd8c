"""The DETR transformer (post-norm), as used by TubeR.

Carion et al., "End-to-End Object Detection with Transformers", ECCV 2020
(https://arxiv.org/abs/2005.12872).
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from tubedet.layers import LayerNorm, MultiHeadAttention, as_autocast


class FeedForward(nn.Module):
    """Residual two-layer perceptron without its norm; mixed into layers to keep DETR's names."""

    def __init__(self, dim: int, feedforward_dim: int, dropout: float):
        super().__init__()
        self.linear1 = nn.Linear(dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.dropout = nn.Dropout(dropout)

    def feed_forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) -> (..., C), the residual included."""
        return x + self.dropout(self.linear2(self.dropout(self.linear1(x).relu_())))


class TransformerEncoderLayer(FeedForward):
    """Self attention and feed-forward, each followed by a layer norm."""

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, dropout: float):
        super().__init__(dim, feedforward_dim, dropout)
        self.self_attn = MultiHeadAttention(dim, num_heads, dropout)
        self.norm1 = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)

    def forward(self, x: torch.Tensor, pos: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Tokens (B, N, C), position code (B, N, C), bool padding (B, N) -> (B, N, C)."""
        with_pos = x + pos
        x = self.norm1(x + self.dropout(self.self_attn(with_pos, with_pos, x, mask)))
        return self.norm2(self.feed_forward(x))


class TransformerDecoderLayer(FeedForward):
    """Self attention of the queries, cross attention to a memory, feed-forward; post-norm."""

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, dropout: float):
        super().__init__(dim, feedforward_dim, dropout)
        self.self_attn = MultiHeadAttention(dim, num_heads, dropout)
        self.cross_attn = MultiHeadAttention(dim, num_heads, dropout)
        self.norm1 = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)
        self.norm3 = LayerNorm(dim)

    def attend_queries(self, x: torch.Tensor, query_pos: torch.Tensor | None) -> torch.Tensor:
        """First third of the layer: self attention of the queries (B, Q, C)."""
        q = x if query_pos is None else x + query_pos
        return self.norm1(x + self.dropout(self.self_attn(q, q, x)))

    def attend_memory(
        self,
        x: torch.Tensor,
        memory: torch.Tensor,
        query_pos: torch.Tensor | None = None,
        keys: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Do the rest: cross attention from (B, Q, C) to the memory (B, N, C) and feed-forward.

        Args:
            x, query_pos: content and position of the queries.
            memory: what is read.
            keys: the memory with its position code; None: without one.
            mask: bool (B, N), True on padding.
        """
        q = x if query_pos is None else x + query_pos
        keys = memory if keys is None else keys
        x = self.norm2(x + self.dropout(self.cross_attn(q, keys, memory, mask)))
        return self.norm3(self.feed_forward(x))


class DETREncoder(nn.Module):
    """A stack of encoder layers without a final norm."""

    def __init__(self, num_layers: int, **layer):
        super().__init__()
        self.layers = nn.ModuleList(TransformerEncoderLayer(**layer) for _ in range(num_layers))

    def forward(self, x: torch.Tensor, pos: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See :meth:`TransformerEncoderLayer.forward`."""
        for layer in self.layers:
            x = layer(x, pos, mask)
        return x


class DETRDecoder(nn.Module):
    """A stack of decoder layers whose every output passes one shared final norm."""

    def __init__(self, num_layers: int, **layer):
        super().__init__()
        self.layers: Iterable[Any] = nn.ModuleList(
            TransformerDecoderLayer(**layer) for _ in range(num_layers)
        )
        self.norm = LayerNorm(layer["dim"])

    def forward(
        self,
        memory: torch.Tensor,
        query_pos: torch.Tensor,
        memory_pos: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """Decode the queries, which start at zero.

        Args:
            memory, memory_pos: (B, N, C).
            query_pos: (B, Q, C) learned query codes.
            mask: bool (B, N), True on padding.

        Returns:
            (L, B, Q, C): the normed output of each of the L layers.
        """
        query_pos, memory = as_autocast(query_pos), as_autocast(memory)
        keys = as_autocast(memory + memory_pos)
        x = torch.zeros_like(query_pos)
        outputs = []
        for layer in self.layers:
            x = layer.attend_queries(x, query_pos)
            x = layer.attend_memory(x, memory, query_pos, keys, mask)
            outputs.append(x)
        return self.norm(torch.stack(outputs))


class DETRTransformer(nn.Module):
    """Encoder and decoder over the cells of a space-time feature map.

    Args:
        dim: channels C.
        num_heads: attention heads.
        feedforward_dim: channels of the feed-forward layers.
        enc_layers, dec_layers: numbers of layers.
        dropout: of attention weights, feed-forward and residuals.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        enc_layers: int,
        dec_layers: int,
        dropout: float,
    ):
        super().__init__()
        layer = {
            "dim": dim,
            "num_heads": num_heads,
            "feedforward_dim": feedforward_dim,
            "dropout": dropout,
        }
        self.encoder = DETREncoder(enc_layers, **layer)
        self.decoder = DETRDecoder(dec_layers, **layer)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, x: torch.Tensor, pos: torch.Tensor, mask: torch.Tensor, query_pos: torch.Tensor
    ) -> torch.Tensor:
        """Detect with learned queries.

        Args:
            x, pos: features and position code (B, C, T, H, W).
            mask: bool (B, T, H, W), True on padded cells.
            query_pos: (Q, C).

        Returns:
            (L, B, Q, C), see :meth:`DETRDecoder.forward`.
        """
        x, pos, mask = x.flatten(2).transpose(1, 2), pos.flatten(2).transpose(1, 2), mask.flatten(1)
        x, pos = as_autocast(x), as_autocast(pos)
        memory = self.encoder(x, pos, mask)
        return self.decoder(memory, query_pos.expand(x.shape[0], -1, -1), pos, mask)
