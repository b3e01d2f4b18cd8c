"""Decoder layer that finds persons: DAB-DETR with a memory of its own for every query.

Liu et al., "DAB-DETR: Dynamic Anchor Boxes are Better Queries for DETR", ICLR 2022
(https://arxiv.org/abs/2201.12329), with the mix of levels of naver-ai/class-query-vad.
"""

import torch
from torch import nn

from tubedet.layers import LayerNorm, PlainAttention, as_autocast, at_least_float32
from tubedet.modeling.transformer.detr import FeedForward

from .grid import FrameMemory


class LocalizingLayer(FeedForward):
    """Self attention of the queries, each one's mix of the levels, and attention to that mix.

    Args:
        dim: channels C.
        num_heads: attention heads.
        feedforward_dim: channels of the feed-forward layer.
        dropout: of attention weights, feed-forward and residuals.
        num_levels: levels L of the memory.
        is_first: the position of a query is added to its content, and that of a cell to its key;
            this layer alone knows a projection of the position of the query.
        repeat_equal_work: project the memory of every query to keys and values, as published,
            instead of the query to the memory; and attend from one query to another where all
            contents are zero. The result is the same without.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        num_levels: int,
        is_first: bool,
        repeat_equal_work: bool = False,
    ):
        super().__init__(dim, feedforward_dim, dropout)
        self.num_heads = num_heads
        self.repeat_equal_work = repeat_equal_work
        self.sa_qcontent_proj = nn.Linear(dim, dim)
        self.sa_qpos_proj = nn.Linear(dim, dim)
        self.sa_kcontent_proj = nn.Linear(dim, dim)
        self.sa_kpos_proj = nn.Linear(dim, dim)
        self.sa_v_proj = nn.Linear(dim, dim)
        self.self_attn = PlainAttention(dim, num_heads, dropout)
        self.norm1 = LayerNorm(dim)
        self.lvl_w_embed = nn.Linear(dim, num_levels)
        self.norm_ = LayerNorm(dim)
        self.ca_qcontent_proj = nn.Linear(dim, dim)
        self.ca_qpos_proj = nn.Linear(dim, dim) if is_first else None
        self.ca_kcontent_proj = nn.Linear(dim, dim)
        self.ca_kpos_proj = nn.Linear(dim, dim)
        self.ca_v_proj = nn.Linear(dim, dim)
        self.ca_qpos_sine_proj = nn.Linear(dim, dim)
        self.cross_attn = PlainAttention(dim, num_heads, dropout)
        self.norm2 = LayerNorm(dim)
        self.norm3 = LayerNorm(dim)

    def forward(
        self,
        content: torch.Tensor | None,
        memory: FrameMemory,
        query_pos: torch.Tensor,
        sine: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Look for persons.

        Args:
            content: (N, Q, C) of the queries of N frames; None: zeros.
            memory: of the frames.
            query_pos: (N, Q, C), code of the whole anchor.
            sine: (N, Q, C), code of the centre of the anchor.

        Returns:
            content (N, Q, C); actor features (N, Q, C), the content before the feed-forward layer;
            memories (N, Q, S, C) of the queries, or (N, 1, S, C) where all are equal.
        """
        content = self._attend_queries(content, query_pos)
        shares = at_least_float32(self.lvl_w_embed(content)).softmax(-1).to(memory.maps.dtype)
        mixed = torch.matmul(shares, memory.maps.flatten(2))  # (N, Q, S · C)
        own = self.norm_(mixed.unflatten(-1, memory.maps.shape[2:]))
        attend = self._attend_projected if self.repeat_equal_work else self._attend_memory
        actor = self.norm2(content + self.dropout(attend(content, own, memory, query_pos, sine)))
        return self.norm3(self.feed_forward(actor)), actor, own

    def _attend_queries(self, content, query_pos):
        if content is None:
            shared = not (self.training or self.repeat_equal_work)
            content = torch.zeros_like(query_pos[:, :1] if shared else query_pos)
            if shared:
                # Equal values: whatever the weights are, their mean is the value.
                attended = self.self_attn.out_proj(self.sa_v_proj(content))
                return self.norm1(content + attended)
        query = self.sa_qcontent_proj(content) + self.sa_qpos_proj(query_pos)
        key = self.sa_kcontent_proj(content) + self.sa_kpos_proj(query_pos)
        attended = self.self_attn.attend(query, key, self.sa_v_proj(content))
        return self.norm1(content + self.dropout(attended))

    def _queries(self, content, query_pos, sine):
        """Content and position (N, Q, heads, D) of the queries of the cross attention."""
        query = self.ca_qcontent_proj(content)
        if self.ca_qpos_proj is not None:
            query = query + self.ca_qpos_proj(query_pos)
        return self._by_head(query), self._by_head(self.ca_qpos_sine_proj(sine))

    def _by_head(self, x):
        return x.unflatten(-1, (self.num_heads, -1))

    def _attend_memory(self, content, own, memory, query_pos, sine):
        """Attend with queries in the channels of the memory, which is not projected at all."""
        query, position = self._queries(content, query_pos, sine)
        # Scaled before the products, which float16 could not hold otherwise.
        scale = (2 * query.shape[-1]) ** -0.5
        query, position = query * scale, position * scale
        place = self._by_head(self.ca_kpos_proj(memory.pos))  # (N, S, heads, D)
        by_place = position if self.ca_qpos_proj is None else position + query
        weight = self._by_head(self.ca_kcontent_proj.weight.t())
        bias = as_autocast(self.ca_kcontent_proj.bias)
        asked = torch.einsum("nqhd,chd->nqhc", query, weight)
        scores = asked @ own.transpose(-2, -1)  # (N, Q, heads, S)
        scores = scores + torch.einsum("nqhd,nshd->nqhs", by_place, place)
        scores = scores + (query * self._by_head(bias)).sum(-1, keepdim=True)
        scores = at_least_float32(scores).masked_fill(memory.mask[:, None, None], -torch.inf)
        weights = self.cross_attn.dropout(scores.softmax(-1)).to(own.dtype)
        read = weights @ own  # (N, Q, heads, C)
        weight, bias = self.ca_v_proj.weight, as_autocast(self.ca_v_proj.bias)
        value = torch.einsum("nqhc,hdc->nqhd", read, weight.unflatten(0, (self.num_heads, -1)))
        value = value + self._by_head(bias) * weights.sum(-1, keepdim=True)
        return self.cross_attn.out_proj(value.flatten(2))

    def _attend_projected(self, content, own, memory, query_pos, sine):
        """Attend with keys and values of every query, as published."""
        query, position = self._queries(content, query_pos, sine)
        place = self.ca_kpos_proj(memory.pos)[:, None].expand_as(own)
        key = self.ca_kcontent_proj(own)
        if self.ca_qpos_proj is not None:
            key = key + place
        # Content and position of a head are neighbours.
        query = torch.cat((query, position), dim=-1).flatten(2)
        key = torch.cat((self._by_head(key), self._by_head(place)), dim=-1).flatten(3)
        mask = memory.mask[:, None].expand(own.shape[:3])
        attended = self.cross_attn.attend(
            query.flatten(0, 1)[:, None],
            key.flatten(0, 1),
            self.ca_v_proj(own).flatten(0, 1),
            mask.flatten(0, 1),
        )
        return attended.view_as(content)
