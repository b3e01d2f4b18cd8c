"""Queries from the encoder's best cells: the two-stage variant of Deformable DETR."""

import math
from typing import Any, NamedTuple

import torch
from torch import nn

from tubedet.errors import UserError
from tubedet.layers import LayerNorm, sine_encoding

from .level_tokens import LevelTokens

# Side of the box proposed by a cell of the first level, as a fraction of the image; it doubles
# from level to level.
FIRST_SIDE = 0.05
# A proposal outside of this range in any coordinate does not count.
VALID_RANGE = (0.01, 0.99)
# Logit of cells that do not count; finite in half precision.
NEVER = -1e4


class Proposals(NamedTuple):
    """What the encoder proposes.

    Attributes:
        logits: (B, S, 1) before the sigmoid: a person is proposed by the cell.
        boxes: (B, S, 4) cxcywh, fractions of the unpadded images.
        references: (B, Q, 4), the boxes of the best Q cells, detached.
        query_pos, content: (B, Q, C), position and content of their queries.
    """

    logits: torch.Tensor
    boxes: torch.Tensor
    references: torch.Tensor
    query_pos: torch.Tensor
    content: torch.Tensor


class EncoderProposals(nn.Module):
    """Every encoded cell proposes a box around itself; the best ones become queries.

    Unlike the published code, padded cells and cells with a proposal at the border get no
    probability at all, so they are chosen only when nothing else is left.

    Args:
        dim: channels C, a multiple of 4.
        num_queries: Q.
    """

    def __init__(self, dim: int, num_queries: int):
        super().__init__()
        self.num_queries = num_queries
        self.enc_output = nn.Linear(dim, dim)
        self.enc_output_norm = LayerNorm(dim)
        self.pos_trans = nn.Linear(2 * dim, 2 * dim)
        self.pos_trans_norm = LayerNorm(2 * dim)
        for layer in (self.enc_output, self.pos_trans):
            nn.init.xavier_uniform_(layer.weight)

    def forward(
        self, memory: torch.Tensor, levels: LevelTokens, person_head: nn.Module, box_head: Any
    ) -> Proposals:
        """Propose boxes and choose queries.

        Args:
            memory: (B, S, C), encoded cells of ``levels``.
            person_head: (..., C) -> (..., 1) logits; it and the next belong to the caller.
            box_head: a :class:`~tubedet.modeling.heads.BoxHead`.

        Raises:
            UserError: if there are fewer cells than queries.
        """
        if memory.shape[1] < self.num_queries:
            raise UserError(
                f"MODEL.DEFORMABLE_TUBER.NUM_QUERIES is {self.num_queries}, but the "
                f"feature maps have only {memory.shape[1]} cells to propose a box"
            )
        anchors = _anchors(levels)
        low, high = VALID_RANGE
        ignored = levels.mask | ~((anchors > low) & (anchors < high)).all(-1)
        memory = memory.masked_fill(ignored[..., None], 0)
        memory = self.enc_output_norm(self.enc_output(memory))
        logits = person_head(memory).masked_fill(ignored[..., None], NEVER)
        boxes = box_head.refine(memory, anchors)
        best = logits[..., 0].topk(self.num_queries, dim=1).indices
        references = boxes.detach().gather(1, best[..., None].expand(-1, -1, 4))
        code = sine_encoding(references * (2 * math.pi), memory.shape[-1] // 2).flatten(-2)
        queries = self.pos_trans_norm(self.pos_trans(code.to(memory.dtype)))
        return Proposals(logits, boxes, references, *queries.chunk(2, dim=-1))


def _anchors(levels: LevelTokens) -> torch.Tensor:
    """Box (cx, cy, w, h) around each cell, fractions of the unpadded images: (B, S, 4)."""
    centres = levels.centres()
    sides = [
        centres.new_full((height * width, 2), FIRST_SIDE * 2**level)
        for level, (height, width) in enumerate(levels.shapes)
    ]
    return torch.cat((centres, torch.cat(sides).expand_as(centres)), dim=-1)
