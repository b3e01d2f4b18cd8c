"""Encoder, grid and decoder of the class-query detector.

"Classification Matters: Improving Video Action Detection with Class-Specific Attention", ECCV 2024
(https://arxiv.org/abs/2407.19698); arithmetic and names as in naver-ai/class-query-vad.
"""

from functools import partial
from typing import Any

import torch
from torch import nn

from tubedet.errors import UserError
from tubedet.layers import (
    MultiScaleDeformableAttention,
    MultiScaleDeformableAttention3d,
    sine_position_encoding_3d,
)
from tubedet.modeling.transformer.deformable import DeformableEncoder
from tubedet.modeling.transformer.level_tokens import LevelTokens

from .decoder import ClassQueryDecoder, DecodedLayer
from .grid import FrameGrid


class ClassQueryTransformer(nn.Module):
    """Encodes a video pyramid and decodes frames of it.

    Args:
        dim: channels C, a multiple of 16.
        num_heads: attention heads.
        feedforward_dim: channels of the feed-forward layers.
        enc_layers, dec_layers: layers of the encoder, and pairs of layers of the decoder.
        dropout: of attention, feed-forward and residuals.
        action_dropout: see :class:`ClassQueryDecoder`.
        num_levels: levels L of the pyramid.
        enc_points: sampled points per head and level.
        num_classes: K; 0: persons alone.
        offset_normalizer, triton: see :class:`MultiScaleDeformableAttention3d`.
        grid_level, grid_positions, time_code: see :class:`FrameGrid`.
        mask_classes: see :class:`ClassifyingLayer`.
        repeat_equal_work: encode all cells in the last layer too, and see
            :class:`ClassQueryDecoder`.

    Raises:
        UserError: for a grid on a level that is not there, or an unknown option.
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
        action_dropout: float,
        num_levels: int,
        enc_points: int,
        num_classes: int,
        offset_normalizer: str = "published",
        grid_level: int = 2,
        grid_positions: str = "published",
        time_code: str = "published",
        mask_classes: bool = False,
        repeat_equal_work: bool = False,
        triton: bool = False,
    ):
        super().__init__()
        if not 0 <= grid_level < num_levels:
            raise UserError(
                f"MODEL.CLASS_QUERY.GRID_LEVEL is {grid_level}; choose one of the "
                f"MODEL.CLASS_QUERY.NUM_LEVELS {num_levels} levels, from 0"
            )
        layer: dict[str, Any] = {
            "dim": dim,
            "num_heads": num_heads,
            "feedforward_dim": feedforward_dim,
            "dropout": dropout,
            "num_levels": num_levels,
        }
        self.repeat_equal_work = repeat_equal_work
        self.grid = FrameGrid(grid_level, grid_positions, time_code)
        self.level_embed = nn.Parameter(torch.empty(num_levels, dim))
        self.encoder = DeformableEncoder(
            enc_layers,
            num_points=enc_points,
            triton=triton,
            attention=partial(MultiScaleDeformableAttention3d, normalizer=offset_normalizer),
            **layer,
        )
        self.decoder = ClassQueryDecoder(
            num_layers=dec_layers,
            num_classes=num_classes,
            action_dropout=action_dropout,
            mask_classes=mask_classes,
            repeat_equal_work=repeat_equal_work,
            **layer,
        )
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Initialise as published."""
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, MultiScaleDeformableAttention):
                module.reset_parameters()
        nn.init.normal_(self.level_embed)

    def forward(
        self,
        maps: list[torch.Tensor],
        masks: list[torch.Tensor],
        anchors: torch.Tensor,
        box_head: Any,
        *,
        num_frames: int,
        frames: list[int],
        all_layers: bool = True,
        with_attention: bool = False,
    ) -> list[DecodedLayer]:
        """Detect persons and actions in some frames.

        Args:
            maps: per level (B, C, T_l, H_l, W_l).
            masks: per level bool (B, H_l, W_l), True on padded cells.
            anchors: (F, Q, 4) cxcywh in 0..1, of each of the frames.
            box_head: a :class:`~tubedet.modeling.heads.BoxHead`; it belongs to the caller.
            num_frames: frames T of the clip.
            frames: the F frames to decode.
            all_layers, with_attention: see :meth:`ClassQueryDecoder.forward`.

        Returns:
            decoder layers of N = B · F frames, the frames of a clip one after the other.
        """
        in_time = [mask[:, None].expand(-1, x.shape[2], -1, -1) for x, mask in zip(maps, masks)]
        positions = [
            sine_position_encoding_3d(mask, x.shape[1], paired=False)
            for x, mask in zip(maps, in_time)
        ]
        levels = LevelTokens.from_maps(maps, positions, in_time, self.level_embed)
        wanted = self.grid.wanted_cells(levels.shapes, num_frames, frames, levels.tokens.device)
        if self.repeat_equal_work:
            cells = self.encoder(levels).index_select(1, wanted)
        else:
            cells = self.encoder(levels, wanted)
        memory = self.grid.resample(cells, levels, num_frames, frames)
        anchors = anchors.expand(maps[0].shape[0], -1, -1, -1).flatten(0, 1)
        return self.decoder(memory, anchors, box_head, all_layers, with_attention)
