"""Factorised space-time self attention over backbone features (TubeR's context branch)."""

import torch
import torch.nn.functional as F
from torch import nn

from tubedet.layers import LayerNorm, MultiHeadAttention


class ContextEncoder(nn.Module):
    """One layer that attends in space and in time in parallel and merges both by an MLP.

    With z the input, s its spatial and u its temporal self attention (residual and norm
    included), the output is norm(z + MLP([s ; u])). As published there is no position code.
    The released weights call the spatial attention ``_t`` and the temporal one ``_s``.

    Args:
        dim: channels C.
        num_heads: attention heads.
        feedforward_dim: channels of the MLP.
        dropout: of attention weights, MLP and residuals.
    """

    def __init__(self, *, dim: int, num_heads: int, feedforward_dim: int, dropout: float):
        super().__init__()
        self.spatial_attn = MultiHeadAttention(dim, num_heads, dropout)
        self.temporal_attn = MultiHeadAttention(dim, num_heads, dropout)
        self.spatial_norm = LayerNorm(dim)
        self.temporal_norm = LayerNorm(dim)
        self.linear1 = nn.Linear(2 * dim, feedforward_dim)
        self.linear2 = nn.Linear(feedforward_dim, dim)
        self.norm = LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, z: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Encode the features.

        Args:
            z: (B, C, T, H, W).
            mask: bool (B, H, W), True on padded cells that must not be attended to; None: all are.

        Returns:
            (B, T·H·W, C).
        """
        b, _, t, h, w = z.shape
        z = z.permute(0, 2, 3, 4, 1).reshape(b, t, h * w, -1)
        if mask is not None:
            mask = mask.flatten(1).repeat_interleave(t, dim=0)

        tokens = z.flatten(0, 1)
        attended = self.spatial_attn(tokens, tokens, tokens, mask)
        spatial = self.spatial_norm(z + self.dropout(attended.view_as(z)))

        tokens = z.transpose(1, 2).flatten(0, 1)
        attended = self.temporal_attn(tokens, tokens, tokens)
        attended = attended.unflatten(0, (b, h * w)).transpose(1, 2)
        temporal = self.temporal_norm(z + self.dropout(attended))

        merged = self.linear1(torch.cat((spatial, temporal), dim=-1))
        merged = self.linear2(self.dropout(F.relu(merged)))
        return self.norm(z + self.dropout(merged)).flatten(1, 2)
