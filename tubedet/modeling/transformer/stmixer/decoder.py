"""STMixer's decoder: learned queries, refined stage by stage."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tubedet.layers import LayerNorm, at_least_float32

from .box_state import whole_clips
from .stage import StageOutput, STMixerStage


class STMixerDecoder(nn.Module):
    """N queries of two vectors and a box, and stages with weights of their own.

    Args:
        num_queries: N.
        num_stages: stages in a row.
        finest_stride: of the maps, in pixels. Boxes of twice the side see the finest map most, and
            those of double the side the next one.
        stage: arguments of :class:`STMixerStage`.
    """

    def __init__(self, num_queries: int, num_stages: int, finest_stride: int, stage: dict):
        super().__init__()
        dim = stage["dim"]
        self.first_centre = 1 + math.log2(finest_stride)
        self.init_spatial_queries = nn.Embedding(num_queries, dim)
        self.init_temporal_queries: nn.Embedding | None = None
        if stage["num_actions"]:
            self.init_temporal_queries = nn.Embedding(num_queries, dim)
        self.query_norm = LayerNorm(dim, elementwise_affine=False)
        self.decoder_stages = nn.ModuleList(STMixerStage(**stage) for _ in range(num_stages))

    def forward(
        self,
        maps: Sequence[torch.Tensor],
        sides: torch.Tensor,
        padded_sides: torch.Tensor,
        all_stages: bool = True,
    ) -> list[StageOutput]:
        """Detect in maps.

        Gradients pass from stage to stage through vectors and boxes.

        Args:
            maps: per level (B, C, T, h, w), each of the whole padded clip.
            sides: (B or 1, 1, 2), width and height of the clips in pixels, where boxes start.
            padded_sides: (2,), those of the padded clips.
            all_stages: also those before the last one.

        Returns:
            of the stages asked for, first to last.
        """
        # Half precision cannot tell neighbouring cells apart; maps are cast once for all stages.
        maps = [at_least_float32(level) for level in maps]
        batch, num_queries = maps[0].shape[0], self.init_spatial_queries.num_embeddings
        state = whole_clips(sides).expand(batch, num_queries, -1)
        spatial = self._start(self.init_spatial_queries, batch)
        temporal = self._start(self.init_temporal_queries, batch)
        outputs = []
        for index, module in enumerate(self.decoder_stages, start=1):
            stage: Any = module
            wanted = all_stages or index == len(self.decoder_stages)
            output = stage(
                maps, state, spatial, temporal, padded_sides, self.first_centre, with_logits=wanted
            )
            state, spatial, temporal = output.state, output.spatial, output.temporal
            if wanted:
                outputs.append(output)
        return outputs

    def _start(self, queries: nn.Embedding | None, batch: int) -> Any:
        if queries is None:
            return None
        return self.query_norm(queries.weight).expand(batch, -1, -1)
