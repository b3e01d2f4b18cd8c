"""Decoder layer that classifies actions: every class looks for its own context of an actor.

"Classification Matters: Improving Video Action Detection with Class-Specific Attention", ECCV 2024
(https://arxiv.org/abs/2407.19698); arithmetic and names as in naver-ai/class-query-vad.
"""

import torch
import torch.nn.functional as F
from torch import nn

from tubedet.errors import UserError
from tubedet.layers import LayerNorm, PlainAttention

# Of the block of ConvNeXt (https://arxiv.org/abs/2201.03545) that this one resembles.
BLOCK_EPS = 1e-6
BLOCK_EXPANSION = 4
# The one block is applied so often.
BLOCK_REPEATS = 3


class ConvBlock(nn.Module):
    """Residual block: 3x3 convolution, norm, and a perceptron over the channels.

    Args:
        dim: channels C.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm = LayerNorm(dim, eps=BLOCK_EPS)
        self.conv2 = nn.Linear(dim, BLOCK_EXPANSION * dim)
        self.conv3 = nn.Linear(BLOCK_EXPANSION * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, H, W, C) -> (N, H, W, C)."""
        out = self.conv1(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.conv3(F.gelu(self.conv2(self.norm(out))))


class ClassifyingLayer(nn.Module):
    """One query for each class and actor, which attends to the map of the actor.

    In the attention, half of the heads compare contents and the other half positions alone. As
    published it has neither residual nor norm, and padded cells take part.

    Args:
        dim: channels C.
        num_heads: attention heads, an even number.
        feedforward_dim: channels of the feed-forward layers.
        dropout: of attention weights, feed-forward layers and the residual.
        mask_classes: keep padded cells out of the attention.
        repeat_equal_work: in the first layer, attend among the classes once for each actor, as
            published, where all actors have the same classes. The result is the same without.

    Raises:
        UserError: for an odd number of heads.
    """

    def __init__(
        self,
        *,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        dropout: float,
        mask_classes: bool = False,
        repeat_equal_work: bool = False,
    ):
        super().__init__()
        if num_heads % 2:
            raise UserError(f"MODEL.CLASS_QUERY.NUM_HEADS is {num_heads}; choose an even number")
        self.mask_classes = mask_classes
        self.repeat_equal_work = repeat_equal_work
        self.cls_linear1 = nn.Linear(dim, feedforward_dim)
        self.cls_linear2 = nn.Linear(feedforward_dim, dim)
        self.cls_norm = LayerNorm(dim)
        self.conv_norm = LayerNorm(dim)
        self.conv_block = ConvBlock(dim)
        self.self_attn = PlainAttention(dim, num_heads, dropout)
        self.norm1 = LayerNorm(dim)
        self.cls_qpos_sine_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Conv2d(dim, dim, 1)
        self.v_proj = nn.Conv2d(dim, dim, 1)
        self.cross_attn = PlainAttention(dim, num_heads, dropout)
        self.cls_linear1_ = nn.Linear(dim, feedforward_dim)
        self.cls_linear2_ = nn.Linear(feedforward_dim, dim)
        self.cls_norm_ = LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        class_queries: torch.Tensor,
        actor: torch.Tensor,
        query_memory: torch.Tensor,
        pos: torch.Tensor,
        mask: torch.Tensor,
        sine: torch.Tensor,
        shape: tuple[int, int],
        with_attention: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Classify.

        Args:
            class_queries: (K, C), or (N, Q, K, C) from the layer before.
            actor: (N, Q, C) of the queries of N frames.
            query_memory: (N, Q, S, C), or (N, 1, S, C) where it is the same for all queries.
            pos: (N, S, C).
            mask: bool (N, S), True on padded cells.
            sine: (N, Q, C), code of the centre of each query's anchor.
            shape: height and width of the maps.
            with_attention: return the attention too.

        Returns:
            the class queries (N, Q, K, C) of the next layer; where asked for, the weights
            (N, Q, K, S) with which classes read the cells, mean over the heads.
        """
        num_queries = actor.shape[1]
        actor = self._feed_forward(actor, self.cls_linear1, self.cls_linear2, self.cls_norm)
        maps = self.conv_norm(actor[:, :, None] + query_memory)
        maps = maps.flatten(0, 1).unflatten(1, shape)
        for _ in range(BLOCK_REPEATS):
            maps = self.conv_block(maps)

        classes = self._attend_classes(class_queries, actor)
        place = self.cls_qpos_sine_proj(sine)[:, :, None].expand_as(classes)
        query = torch.cat((classes, place), dim=-1).flatten(0, 1)
        key = _pointwise(self.k_proj, maps.flatten(1, 2))
        places = pos[:, None].expand(-1, num_queries, -1, -1).flatten(0, 1)
        key = torch.cat((key, places.to(key.dtype)), dim=-1)
        value = _pointwise(self.v_proj, query_memory)
        value = value.expand(-1, num_queries, -1, -1).flatten(0, 1)
        padding = None
        if self.mask_classes:
            padding = mask[:, None].expand(-1, num_queries, -1).flatten(0, 1)
        found = self.cross_attn.attend(query, key, value, padding).view_as(classes)
        found = self._feed_forward(found, self.cls_linear1_, self.cls_linear2_, self.cls_norm_)
        if not with_attention:
            return found, None
        weights = self.cross_attn.mean_weights(query, key, padding)
        return found, weights.unflatten(0, actor.shape[:2])

    def _attend_classes(self, classes, actor):
        """Self attention of the classes of each actor: (N, Q, K, C)."""
        if classes.dim() == 2 and (self.training or self.repeat_equal_work):
            classes = classes.expand(*actor.shape[:2], -1, -1)
        # In the first layer all actors have the same classes.
        rows = classes.reshape(-1, *classes.shape[-2:]).to(actor.dtype)
        attended = self.self_attn.attend(rows, rows, rows)
        rows = self.norm1(rows + self.dropout(attended))
        return rows.view(classes.shape).expand(*actor.shape[:2], -1, -1)

    def _feed_forward(self, x, linear1, linear2, norm):
        return norm(x + self.dropout(linear2(self.dropout(linear1(x).relu_()))))


def _pointwise(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """Apply a 1x1 convolution to rows (..., C) of channels."""
    return F.linear(x, conv.weight.flatten(1), conv.bias)
