"""Operators as the published code has them, for comparisons in the same run."""

from __future__ import annotations

import itertools
import math

import torch


def gather_corners(
    rows: torch.Tensor,
    places: torch.Tensor,
    weights: torch.Tensor,
    shapes: list[tuple[int, ...]],
) -> torch.Tensor:
    """Read maps trilinearly, all samples of a level and a corner at once.

    Without its CUDA kernel this is what the class-query detector has to do; see
    :func:`tubedet.layers.deformable_attention_3d.read_rows` for the same in less memory.

    Args:
        rows: (B, S, heads, D), the cells of all levels.
        places: (B, N, heads, L, P, 3) points (x, y, t) as fractions of the maps.
        weights: (B, N, heads, L, P).
        shapes: (time, height, width) of each level.

    Returns:
        torch.Tensor: (B, N, heads * D), the sums over levels and points.
    """
    batch, num_queries, heads = places.shape[:3]
    by_head = rows.transpose(1, 2)  # (B, heads, S, D)
    gathered = rows.new_zeros(batch, heads, num_queries, rows.shape[-1])
    start = 0
    for level, (time, height, width) in enumerate(shapes):
        cells = by_head[:, :, start : start + time * height * width]
        start += math.prod((time, height, width))
        size = torch.tensor((width, height, time), device=rows.device)
        x = places[:, :, :, level].transpose(1, 2) * size - 0.5  # (B, heads, N, P, 3)
        low = x.floor()
        share = x - low
        for corner in itertools.product((0, 1), repeat=3):
            upper = torch.tensor(corner, device=rows.device)
            cell = low.long() + upper
            part = torch.where(upper.bool(), share, 1 - share).prod(-1)
            part = part * ((cell >= 0) & (cell < size)).all(-1)
            column, row, step = cell.clamp(min=0).minimum(size - 1).unbind(-1)
            index = ((step * height + row) * width + column).flatten(2)
            index = index[..., None].expand(-1, -1, -1, rows.shape[-1])
            value = cells.gather(2, index).unflatten(2, (num_queries, -1))
            factor = part * weights[:, :, :, level].transpose(1, 2)
            gathered += (value * factor[..., None]).sum(3)
    return gathered.transpose(1, 2).flatten(2)
