"""Multi-scale deformable attention over space and time, in chunks.

The attention of Deformable DETR (https://arxiv.org/abs/2010.04159) with points in maps of three
axes, as in the class-query detector (https://arxiv.org/abs/2407.19698; naver-ai/class-query-vad).
"""

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from tubedet.errors import UserError

from .cuda import availability
from .deformable_attention import MultiScaleDeformableAttention

NORMALIZERS = ("published", "right")
# Where nothing is kept for a backward pass, so many queries at once stay in the cache of a core and
# below the size from which the allocator asks the system for memory each time.
_CACHED_QUERIES = 64
# Queries that are read at once. A GPU would wait for the launches of smaller chunks.
_CHUNK_SIZE, _CHUNK_SIZE_ON_GPU = 1024, 16384


class MultiScaleDeformableAttention3d(MultiScaleDeformableAttention):
    """Every query looks at a few points around its reference, on every level of a video pyramid.

    Values are read trilinearly; outside of a map they are zero. A chunk of queries needs 16 bytes
    for each of its heads · levels · points · 8 corners, so at most ``chunk_size`` · 32 KiB with
    8 heads, 4 levels and 8 points in float32: 32 MiB with chunks of 1024, however many queries
    there are. Reading all samples of 27,000 queries at once would take 900 MB for the values alone.
    The chunks of a GPU need 0.45 GB, or 1 GB in training. Training with more than 1024 queries
    keeps the inputs of the chunks and computes the rest again in the backward pass.

    Args:
        dim: channels C of queries, memory and output.
        num_heads: attention heads; must divide C.
        num_levels: feature levels L.
        num_points: points P per head and level.
        normalizer: what an offset in (x, y, t) is divided by to be a fraction of a map. "right":
            (width, height, time), so it counts cells. "published": (time, width, height), a slip
            with which released models were trained.
        chunk_size: queries, of all clips, that are read at once; 0: all. None: 1024 on a CPU and
            16,384 elsewhere.
        triton: on NVIDIA GPUs, read by a Triton kernel where Triton runs; it keeps nothing of what
            it reads and needs no chunks.

    Raises:
        UserError: if the heads do not divide the channels, or for an unknown ``normalizer``.
    """

    # Of the maps: x, y, t.
    num_axes = 3

    def __init__(
        self,
        dim: int,
        num_heads: int,
        num_levels: int,
        num_points: int,
        normalizer: str = "published",
        chunk_size: int | None = None,
        triton: bool = False,
    ):
        if normalizer not in NORMALIZERS:
            raise UserError(
                f"the offset normaliser of deformable attention is {normalizer!r}; choose one of "
                f"{NORMALIZERS}"
            )
        super().__init__(dim, num_heads, num_levels, num_points, triton)
        self.normalizer = normalizer
        self.chunk_size = chunk_size

    def _directions(self) -> torch.Tensor:
        """Directions (heads, 3): a circle one step ahead in time, then one in the same step."""
        half = max(self.num_heads // 2, 1)
        head = torch.arange(self.num_heads)
        angle = (head % half) * (2 * math.pi / half)
        return torch.stack((angle.cos(), angle.sin(), (head < half).to(angle.dtype)), dim=-1)

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
            references: (B, N, L, 3) points (x, y, t), fractions of the padded maps.
            memory: (B, S, C), the cells of all levels in a row, each level step by step and row by
                row.
            shapes: (time, height, width) of each level.
            mask: bool (B, S), True on padded cells, which count as zero. None: no padding.

        Returns:
            (B, N, C).
        """
        if self.triton and availability.runs_kernels(query):
            return self._read_by_kernel(query, references, memory, shapes, mask)
        rows, dtype = self._rows(memory, mask)
        chunk_size = self.chunk_size
        if chunk_size is None:
            chunk_size = _CHUNK_SIZE if query.device.type == "cpu" else _CHUNK_SIZE_ON_GPU
        divisors = self._all_divisors(shapes, rows)
        recompute = torch.is_grad_enabled() and (rows.requires_grad or query.requires_grad)
        most_at_once = min(chunk_size, _CHUNK_SIZE) if recompute else chunk_size
        # A program for any size is not cut into a number of chunks.
        whole = not chunk_size or torch.compiler.is_compiling()
        if whole or query.shape[0] * query.shape[1] <= most_at_once:
            return self._read_chunk(rows, query, references, divisors, shapes).to(dtype)
        size = max(chunk_size // query.shape[0], 1)
        chunks = zip(query.split(size, dim=1), references.split(size, dim=1))
        gathered = [
            checkpoint(
                self._read_chunk,
                rows,
                *chunk,
                divisors,
                shapes,
                use_reentrant=False,
                preserve_rng_state=False,
            )
            if recompute
            else self._read_chunk(rows, *chunk, divisors, shapes)
            for chunk in chunks
        ]
        return torch.cat(gathered, dim=1).to(dtype)

    def read(
        self,
        rows: torch.Tensor,
        places: torch.Tensor,
        weights: torch.Tensor,
        shapes: list[tuple[int, ...]],
    ) -> torch.Tensor:
        """Read maps trilinearly, see :func:`read_rows`, in the way that suits the device."""
        # grid_sample knows no vectors on CPUs and is three times slower there.
        if rows.device.type == "cpu" and not torch.compiler.is_compiling():
            return read_rows(rows, places, weights, shapes)
        return read_maps(rows, places, weights, shapes)

    def _read_chunk(self, rows, query, references, divisors, shapes):
        """Read values (B, S, heads, C / heads) for some of the queries: (B, n, C)."""
        places, weights = self._places(query, references.to(rows.dtype), divisors)
        return self.read(rows, places, weights, shapes)

    def _places(self, query, references, divisors):
        """Return places (B, n, heads, L, P, 3) as fractions of the maps, and their weights.

        Offsets are divided by ``divisors`` (L, 1, 3), whose precision is that of the result.
        """
        dtype = divisors.dtype
        points = (self.num_levels, self.num_points)
        weights = self.attention_weights(query).unflatten(-1, (self.num_heads, -1))
        weights = weights.softmax(-1, dtype=dtype).unflatten(-1, points)
        offsets = self.sampling_offsets(query).to(dtype)
        offsets = offsets.unflatten(-1, (self.num_heads, *points, 3))
        return references[:, :, None, :, None] + offsets / divisors, weights

    def _all_divisors(self, shapes, like):
        """Return the divisors of all levels (L, 1, 3) in the precision of ``like``."""
        # Filled, not listed: an exporter would take listed sizes for constants.
        sides = [like.new_full((), side) for shape in shapes for side in self._divisors(shape)]
        return torch.stack(sides).view(-1, 1, 3)

    def _divisors(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return what offsets in (x, y, t) are divided by to be fractions of a map."""
        time, height, width = shape
        return (width, height, time) if self.normalizer == "right" else (time, width, height)

    def _unit(self, shape: tuple[int, ...]) -> tuple[float, ...]:
        return tuple(1 / side for side in self._divisors(shape))


def read_rows(
    rows: torch.Tensor,
    places: torch.Tensor,
    weights: torch.Tensor,
    shapes: list[tuple[int, ...]],
) -> torch.Tensor:
    """Read maps trilinearly as weighted sums of rows; the fast way on CPUs.

    Args:
        rows: (B, S, heads, D), the cells of all levels.
        places: (B, N, heads, L, P, 3) points (x, y, t) as fractions of the maps.
        weights: (B, N, heads, L, P).
        shapes: (time, height, width) of each level.

    Returns:
        (B, N, heads · D), the sums over levels and points.
    """
    num_queries = places.shape[1]
    if num_queries > _CACHED_QUERIES and not torch.is_grad_enabled():
        parts = zip(places.split(_CACHED_QUERIES, dim=1), weights.split(_CACHED_QUERIES, dim=1))
        return torch.cat([read_rows(rows, *part, shapes) for part in parts], dim=1)
    index, factor = _corners(places, weights, shapes, num_cells=rows.shape[1])
    gathered = F.embedding_bag(
        index, rows.flatten(0, 2), mode="sum", per_sample_weights=factor.to(rows.dtype)
    )
    return gathered.view(len(rows), num_queries, -1)


def _corners(places, weights, shapes, num_cells):
    """Return the rows that are read, and their factors: (B · N · heads, 8 · L · P) each.

    Everything is computed along the points of a head, corner by corner, because short last axes are
    slow.
    """
    batch, num_queries, heads, _, num_points = weights.shape
    whole: Any = {"dtype": torch.int32, "device": places.device}
    sides = torch.tensor([shape[::-1] for shape in shapes], **whole)  # x, y, t
    cells = [math.prod(shape) for shape in shapes]
    starts = torch.tensor([0, *itertools.accumulate(cells[:-1])], **whole)
    clip = torch.arange(batch, **whole).view(-1, 1, 1) * num_cells
    first = clip * heads + torch.arange(heads, **whole)
    first = first.expand(-1, num_queries, -1).flatten()[:, None]
    first = first + starts.repeat_interleave(num_points) * heads
    weights = weights.flatten(3).flatten(0, 2)
    by_axis = []
    step = torch.full((len(shapes),), heads, **whole)
    for axis, side in enumerate(sides.unbind(1)):
        size = side.repeat_interleave(num_points)
        x = places[..., axis].flatten(3).flatten(0, 2) * size - 0.5
        low = x.detach().floor()
        share = x - low
        cell = low.to(torch.int32)
        pair = []
        for corner, part in ((cell, 1 - share), (cell + 1, share)):
            inside = (corner >= 0) & (corner < size)
            corner = torch.where(inside, corner * step.repeat_interleave(num_points), 0)
            pair.append((corner, part * inside))
        by_axis.append(pair)
        step = step * side
    in_x, in_y, in_t = by_axis
    index, factor = [], []
    for cell_t, part_t in in_t:
        plane, weight = first + cell_t, weights * part_t
        for cell_y, part_y in in_y:
            row, of_row = plane + cell_y, weight * part_y
            for cell_x, part_x in in_x:
                index.append(row + cell_x)
                factor.append(of_row * part_x)
    return torch.cat(index, dim=-1), torch.cat(factor, dim=-1)


def read_maps(
    rows: torch.Tensor,
    places: torch.Tensor,
    weights: torch.Tensor,
    shapes: list[tuple[int, ...]],
) -> torch.Tensor:
    """Read maps trilinearly by ``grid_sample``; arguments and result as in :func:`read_rows`."""
    batch, _, heads, _ = rows.shape
    # (B, S, heads, D) to (B · heads, D, S); (B, N, heads, L, P, 3) to one (B · heads, P, N, 1, 3)
    # per level.
    value = rows.permute(0, 2, 3, 1).flatten(0, 1)
    grids = (2 * places - 1).permute(3, 0, 2, 4, 1, 5).flatten(1, 2)[..., None, :]
    weights = weights.permute(3, 0, 2, 4, 1).flatten(1, 2)
    gathered = value.new_zeros(())
    sizes = [math.prod(shape) for shape in shapes]
    for level, shape, grid, weight in zip(value.split(sizes, -1), shapes, grids, weights):
        sampled = F.grid_sample(level.unflatten(-1, shape), grid, align_corners=False)[..., 0]
        gathered = gathered + (sampled * weight[:, None]).sum(2)
    return gathered.view(batch, -1, places.shape[1]).transpose(1, 2)
