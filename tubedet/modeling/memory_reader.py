"""Long-term context: persons read what was seen within many seconds around their clip.

The idea is that of long-term feature banks (https://arxiv.org/abs/1812.05038) and of the long-term
context of TubeR (https://arxiv.org/abs/2104.00969), of which nothing was released; the memory is
compressed in two steps as in the long short-term transformer (https://arxiv.org/abs/2107.03377).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from tubedet.errors import UserError
from tubedet.layers import LayerNorm, MultiHeadAttention, PreciseLinear, as_autocast, to_device

from .layer_output import LayerOutput
from .transformer.detr import FeedForward, TransformerDecoderLayer

# What an input of a model has of the memory around its clip.
VECTORS, OFFSETS = "memory", "memory_offsets"
# Times are sums of rounded numbers.
_ROUNDING = 1e-3


def memory_arguments(cfg: CfgNode) -> dict | None:
    """Return the arguments of a :class:`MemoryReader` but for its features; None: no memory.

    Args:
        cfg: the config of a model.
    """
    memory = cfg.MODEL.MEMORY
    if not memory.ENABLED:
        return None
    return {
        "num_outputs": cfg.MODEL.NUM_ACTIONS + int(cfg.MODEL.EXCLUSIVE_ACTIONS),
        "dim": memory.HIDDEN_DIM,
        "num_heads": memory.NUM_HEADS,
        "feedforward_dim": memory.FEEDFORWARD_DIM,
        "num_queries": memory.NUM_QUERIES,
        "dropout": memory.DROPOUT,
        "window": memory.WINDOW,
        "past_only": memory.PAST_ONLY,
    }


class PersonStep(FeedForward):
    """Cross attention of persons to a memory and feed-forward; post-norm."""

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int, dropout: float):
        super().__init__(dim, feedforward_dim, dropout)
        self.cross_attn = MultiHeadAttention(dim, num_heads, dropout)
        self.norm1 = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)

    def forward(self, x: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """(B, Q, C) and a memory (B, N, C) -> (B, Q, C)."""
        x = self.norm1(x + self.dropout(self.cross_attn(x, memory, memory)))
        return self.norm2(self.feed_forward(x))


class MemoryReader(nn.Module):
    """Turns a memory and the features of persons into changes of their action logits.

    Every vector of the memory gets a learned code of its distance in time. ``num_queries[0]``
    learned queries read the memory, ``num_queries[1]`` others read what these found, and the
    persons read that. The last layer starts at zero, so at first nothing changes, and without a
    memory nothing ever does.

    Args:
        feature_dim: channels D of the features of persons, which are what memories consist of.
        num_outputs: action logits of a person.
        dim: channels C of the reader.
        num_heads: attention heads.
        feedforward_dim: hidden channels of the feed-forward layers.
        num_queries: of the two steps of the compression.
        dropout: of attention weights, feed-forward layers and residuals.
        window: seconds before and after the key frame that are read.
        past_only: read nothing of later times.

    Raises:
        UserError: for numbers that make no sense.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        num_outputs: int,
        dim: int,
        num_heads: int,
        feedforward_dim: int,
        num_queries: Sequence[int],
        dropout: float,
        window: int,
        past_only: bool,
    ):
        super().__init__()
        if len(num_queries) != 2 or min(num_queries) < 1:
            raise UserError(
                f"MODEL.MEMORY.NUM_QUERIES is {list(num_queries)}; give two positive numbers"
            )
        if window < 1:
            raise UserError(f"MODEL.MEMORY.WINDOW is {window}; give at least 1 second")
        self.feature_dim = feature_dim
        self.window = window
        self.past_only = past_only
        layer: dict[str, Any] = {
            "dim": dim,
            "num_heads": num_heads,
            "feedforward_dim": feedforward_dim,
            "dropout": dropout,
        }
        self.vector_proj = nn.Linear(feature_dim, dim)
        self.vector_norm = LayerNorm(dim)
        self.person_proj = nn.Linear(feature_dim, dim)
        self.person_norm = LayerNorm(dim)
        self.first_queries = nn.Embedding(num_queries[0], dim)
        self.second_queries = nn.Embedding(num_queries[1], dim)
        self.first_step = TransformerDecoderLayer(**layer)
        self.second_step = TransformerDecoderLayer(**layer)
        self.person_step = PersonStep(**layer)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        # One for every second from -window to window.
        self.time_codes = nn.Embedding(2 * window + 1, dim)
        self.out = PreciseLinear(dim, num_outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    @property
    def seconds_after(self) -> float:
        """Seconds after the key frame that are read."""
        return 0.0 if self.past_only else float(self.window)

    def forward(self, features: torch.Tensor, inputs: Sequence[dict]) -> torch.Tensor:
        """Read the memory around each clip.

        Args:
            features: (B, Q, D) of persons.
            inputs: of the clips; each may have ``memory``, (M, D), and ``memory_offsets``, (M,),
                the seconds from the key frame to each vector. Vectors out of the window count as
                absent.

        Returns:
            (B, Q, outputs), zero for clips without a memory.

        Raises:
            UserError: for a memory of vectors of another length.
        """
        vectors, offsets, absent = self._batch(features, inputs)
        is_empty = absent.all(1)
        # A softmax over nothing is no number; what such clips read counts for nothing.
        absent = absent & ~is_empty[:, None]
        codes = as_autocast(self.time_codes.weight)[offsets]
        memory = as_autocast(self.vector_norm(self.vector_proj(vectors)))
        found = self._read(self.first_step, self.first_queries, memory, memory + codes, absent)
        found = self._read(self.second_step, self.second_queries, found)
        persons = as_autocast(self.person_norm(self.person_proj(features)))
        changes = self.out(self.person_step(persons, found))
        return changes.masked_fill(is_empty[:, None, None], 0)

    def change(self, layer: LayerOutput, inputs: Sequence[dict]) -> torch.Tensor:
        """Return the action logits (B, Q, outputs) with what the memories add.

        Args:
            layer: with its features.
            inputs: of the clips.
        """
        assert layer.action_logits is not None and layer.action_features is not None
        return layer.action_logits + self(layer.action_features, inputs)

    @staticmethod
    def _read(step, queries, memory, keys=None, absent=None):
        queries = as_autocast(queries.weight).expand(len(memory), -1, -1)
        x = step.attend_queries(torch.zeros_like(queries), queries)
        return step.attend_memory(x, memory, queries, keys, absent)

    def _batch(self, features, inputs):
        """Return vectors (B, M, D), rows of their codes (B, M) and, bool (B, M), who is absent."""
        vectors, offsets = [], []
        for x in inputs:
            own = x.get(VECTORS)
            if own is None or len(own) == 0:
                # At least one row, so that an empty memory is one that is absent.
                own, seconds = torch.zeros(1, self.feature_dim), torch.full((1,), torch.inf)
            else:
                seconds = x[OFFSETS]
            if own.shape[1] != self.feature_dim:
                raise UserError(
                    f"the memory has vectors of {own.shape[1]} numbers, but persons of this model "
                    f"have {self.feature_dim}; build MODEL.MEMORY.STORE with this model's weights"
                )
            vectors.append(to_device(own, features.device).to(features.dtype))
            offsets.append(to_device(seconds, features.device).float())
        offset = pad_sequence(offsets, batch_first=True, padding_value=torch.inf)
        absent = (offset < -self.window - _ROUNDING) | (offset > self.seconds_after + _ROUNDING)
        rows = offset.masked_fill(absent, 0).round().long() + self.window
        return pad_sequence(vectors, batch_first=True), rows, absent
