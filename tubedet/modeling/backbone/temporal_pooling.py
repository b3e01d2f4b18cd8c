"""From the time steps of a backbone map to the memory of a key-frame detector."""

from collections.abc import Mapping

import torch
from torch import nn

from tubedet.errors import UserError
from tubedet.layers import LayerNorm
from tubedet.modeling.transformer.detr import TransformerDecoderLayer

TEMPORAL_POOLING_TYPES = ("decode", "avg", "max", "center", "none")


class TemporalPooling(nn.Module):
    """Pool (B, C, T, H, W) over time, as TubeR's ``TEMPORAL_DS_STRATEGY``.

    "decode" lets one learned query attend, at every location, to the location's T vectors by a
    transformer decoder layer; it has no time code, so it does not see the order of the steps.
    "avg" and "max" pool over all T, "center" takes step T // 2, "none" keeps all steps.

    Args:
        pooling: one of :data:`TEMPORAL_POOLING_TYPES`.
        channels: C.
        num_heads: attention heads of "decode".
        dropout: dropout of "decode".
        repeat_equal_work: let the query start anew at every location, as published; the result is
            the same.

    Raises:
        UserError: for an unknown ``pooling``.
    """

    def __init__(
        self,
        pooling: str,
        channels: int,
        num_heads: int = 8,
        dropout: float = 0.1,
        repeat_equal_work: bool = False,
    ):
        super().__init__()
        if pooling not in TEMPORAL_POOLING_TYPES:
            raise UserError(
                f"TEMPORAL_POOLING is {pooling!r}; choose one of {TEMPORAL_POOLING_TYPES}"
            )
        self.pooling = pooling
        self.repeat_equal_work = repeat_equal_work
        if pooling == "decode":
            self.query = nn.Embedding(1, channels)
            self.layer = TransformerDecoderLayer(channels, num_heads, channels, dropout)
            self.norm = LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C, 1, H, W), or the input itself for "none"."""
        if self.pooling == "none":
            return x
        if self.pooling == "avg":
            return x.mean(2, keepdim=True)
        if self.pooling == "max":
            return x.amax(2, keepdim=True)
        if self.pooling == "center":
            middle = x.shape[2] // 2
            return x[:, :, middle : middle + 1]
        return self._decode(x)

    def _decode(self, x: torch.Tensor) -> torch.Tensor:
        b, _, _, h, w = x.shape
        layer = self.layer
        memory = x.permute(0, 3, 4, 2, 1).flatten(0, 2)
        if self.repeat_equal_work:
            query = layer.attend_queries(self.query.weight.expand(len(memory), 1, -1), None)
            pooled = layer.attend_memory(query, memory)[:, 0]
        else:
            # The query is the same everywhere until it meets the features.
            query = layer.attend_queries(self.query.weight[None], None)[0]
            attended = layer.cross_attn.from_shared_query(query[0], memory)
            pooled = layer.norm3(layer.feed_forward(layer.norm2(query + layer.dropout(attended))))
        return self.norm(pooled).view(b, h, w, -1).permute(0, 3, 1, 2).unsqueeze(2)


class MapPooling(nn.ModuleDict):
    """Every map of a backbone pooled over time to a 2-D map, by a pooling of its own.

    Args:
        pooling: "avg", "max", "center" or "decode", see :class:`TemporalPooling`.
        channels: of each map, by its name.
        num_heads, dropout: of "decode".

    Raises:
        UserError: for a pooling that keeps the time steps, or an unknown one.
    """

    def __init__(
        self, pooling: str, channels: Mapping[str, int], *, num_heads: int = 8, dropout: float = 0.0
    ):
        if pooling == "none":
            raise UserError(
                "MODEL.SPARSE_RCNN.TEMPORAL_POOLING is 'none', but a feature pyramid takes maps "
                "without time; choose 'avg', 'max', 'center' or 'decode'"
            )
        super().__init__(
            {
                name: TemporalPooling(pooling, number, num_heads, dropout)
                for name, number in channels.items()
            }
        )

    def forward(self, maps: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """{name: (B, C, T, H, W)} -> {name: (B, C, H, W)}."""
        return {name: pool(maps[name]).squeeze(2) for name, pool in self.items()}
