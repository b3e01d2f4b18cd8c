"""Multi-scale deformable attention in plain PyTorch.

Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection", ICLR 2021
(https://arxiv.org/abs/2010.04159); parameters as in fundamentalvision/Deformable-DETR.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from tubedet.errors import UserError

from .cuda import availability


class MultiScaleDeformableAttention(nn.Module):
    """Every query looks at a few points around its reference, on every level of a feature pyramid.

    Offsets and weights of the points are linear in the query. Per head the weights are a softmax
    over all points of all levels. Values are read bilinearly; outside of a map they are zero.

    Args:
        dim: channels C of queries, memory and output.
        num_heads: attention heads; must divide C.
        num_levels: feature levels L.
        num_points: points P per head and level.
        triton: on NVIDIA GPUs, read by a Triton kernel where Triton runs.

    Raises:
        UserError: if the heads do not divide the channels.
    """

    # Of the maps: x, y.
    num_axes = 2

    def __init__(
        self, dim: int, num_heads: int, num_levels: int, num_points: int, triton: bool = False
    ):
        super().__init__()
        if dim % num_heads:
            raise UserError(f"{num_heads} attention heads do not divide {dim} channels")
        self.num_heads = num_heads
        self.num_levels = num_levels
        self.num_points = num_points
        self.triton = triton
        self.sampling_offsets = nn.Linear(dim, num_heads * num_levels * num_points * self.num_axes)
        self.attention_weights = nn.Linear(dim, num_heads * num_levels * num_points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform weights; point p of a head looks p + 1 cells into the direction of the head."""
        direction = self._directions()
        direction = direction / direction.abs().amax(-1, keepdim=True)
        distance = torch.arange(1.0, self.num_points + 1)
        ring = direction[:, None, None] * distance[:, None]
        ring = ring.expand(-1, self.num_levels, -1, -1)
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(ring.flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def _directions(self) -> torch.Tensor:
        """Directions (heads, 2) of any length: 2πh/heads for head h."""
        angle = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        return torch.stack((angle.cos(), angle.sin()), dim=-1)

    def forward(
        self,
        query: torch.Tensor,
        references: torch.Tensor,
        memory: torch.Tensor,
        shapes: list[tuple[int, ...]],
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """:meth:`sample` and the output projection; (B, N, C)."""
        return self.output_proj(self.sample(query, references, memory, shapes, mask))

    def sample(
        self,
        query: torch.Tensor,
        references: torch.Tensor,
        memory: torch.Tensor,
        shapes: list[tuple[int, ...]],
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Gather values from the memory, without the output projection.

        Args:
            query: (B, N, C), the position code included.
            references: (B, N, L, 2) points (x, y), whose offsets count in cells of the level, or
                (B, N, L, 4) boxes (cx, cy, w, h), whose offsets count in half box sides per point.
                Fractions of the padded maps, so already times the valid ratios.
            memory: (B, S, C), the cells of all levels in a row, each level row by row.
            shapes: (height, width) of each level.
            mask: bool (B, S), True on padded cells, which count as zero. None: no padding.

        Returns:
            (B, N, C).
        """
        if self.triton and availability.runs_kernels(query):
            return self._read_by_kernel(query, references, memory, shapes, mask)
        batch, num_queries, _ = query.shape
        rows, dtype = self._rows(memory, mask)
        precise = rows.dtype
        value = rows.permute(0, 2, 3, 1).flatten(0, 1)
        points = (self.num_heads, self.num_levels, self.num_points)
        weights = self.attention_weights(query).unflatten(-1, (self.num_heads, -1))
        weights = weights.softmax(-1, dtype=precise).unflatten(-1, points[1:])
        offsets = self.sampling_offsets(query).to(precise).unflatten(-1, (*points, 2))
        grids = self._grids(offsets, references.to(precise), shapes)
        # (B, N, heads, L, P, ...) to one (B·heads, P, N, ...) per level. Queries come last and in a
        # row because grid_sample is fastest along long contiguous lines.
        grids = grids.permute(3, 0, 2, 4, 1, 5).flatten(1, 2).contiguous()
        weights = weights.permute(3, 0, 2, 4, 1).flatten(1, 2).contiguous()
        gathered: Any = 0
        sizes = [height * width for height, width in shapes]
        for level, shape, grid, weight in zip(value.split(sizes, -1), shapes, grids, weights):
            sampled = F.grid_sample(level.unflatten(-1, shape), grid, align_corners=False)
            gathered = gathered + (sampled * weight[:, None]).sum(2)
        gathered = gathered.view(batch, -1, num_queries).transpose(1, 2)
        return gathered.to(dtype)

    def _rows(self, memory, mask):
        """Values (B, S, heads, C / heads) to read, at least float32, and the type of results.

        Half precision cannot tell neighbouring cells of a map apart: locations, and what is read
        there, are at least float32.
        """
        rows = self._values(memory, mask)
        precise = torch.promote_types(rows.dtype, torch.float32)
        return rows.to(precise), rows.dtype

    def _values(self, memory, mask):
        """Values (B, S, heads, C / heads) to read, 0 where ``mask`` is."""
        value = self.value_proj(memory)
        if mask is not None:
            value = value.masked_fill(mask[..., None], 0)
        return value.unflatten(-1, (self.num_heads, -1))

    def _read_by_kernel(self, query, references, memory, shapes, mask):
        """Compute :meth:`sample` on a GPU, without casts and without keeping what is read."""
        from .cuda.deformable import read_points

        points = (self.num_heads, self.num_levels, self.num_points)
        units = [self._unit(shape) for shape in shapes]
        if references.shape[-1] != self.num_axes:  # of the half sides of boxes
            units = [(0.5 / self.num_points,) * 2] * len(shapes)
        return read_points(
            self._values(memory, mask),
            self.sampling_offsets(query).unflatten(-1, (*points, self.num_axes)),
            self.attention_weights(query).unflatten(-1, points),
            references,
            shapes,
            units,
        )

    def _unit(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        """Fraction of a map (x, y) that an offset of 1 is, for reference points."""
        height, width = shape
        return 1 / width, 1 / height

    def _grids(self, offsets, references, shapes):
        """Return sampling locations (B, N, heads, L, P, 2) in grid_sample's -1 .. 1."""
        if references.shape[-1] == 2:
            # Filled, not listed: an exporter would take listed sizes for constants.
            sides = [offsets.new_full((), side) for shape in shapes for side in reversed(shape)]
            step = (2 / torch.stack(sides).view(-1, 2))[:, None]
        else:
            step = references[:, :, None, :, None, 2:] / self.num_points
        centre = 2 * references[:, :, None, :, None, :2] - 1
        return torch.addcmul(centre, offsets, step)
