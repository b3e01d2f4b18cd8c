"""Deformable attention by Triton kernels, forward and backward."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Sequence

import torch
from torch.autograd.function import once_differentiable

from . import deformable_kernels as kernels
from .availability import accumulator
from .grid_sizes import ceil_div, next_power_of_2

# Numbers of the result that a program works on; the registers of a GPU hold them.
_BLOCK_NUMBERS = 1024
_BLOCK_NUMBERS_OF_GRADIENT = 512
_tables: dict[tuple, torch.Tensor] = {}


def read_points(
    rows: torch.Tensor,
    offsets: torch.Tensor,
    logits: torch.Tensor,
    references: torch.Tensor,
    shapes: Sequence[tuple[int, ...]],
    units: Sequence[tuple[float, ...]],
) -> torch.Tensor:
    """Read maps linearly at points, and add up what was read with the softmax of weights.

    Sums are float32 for half precision. No more is kept for the backward pass than arguments and
    result; the gradient of the weights is made with the result as it was rounded. Like that of
    ``grid_sample``, the backward pass adds in no fixed order, and has no gradient of its own.

    Args:
        rows: (B, S, heads, D), the cells of all levels; outside of a map all is zero.
        offsets: (B, N, heads, L, P, n) of the points, in (x, y) or (x, y, t), of any type.
        logits: (B, N, heads, L, P), before the softmax over all points of a head, of any type.
        references: (B, N, L, n), fractions of the maps; or (B, N, L, 4) boxes (cx, cy, w, h), whose
            sides multiply the offsets.
        shapes: ([time,] height, width) of each level.
        units: for each level, what an offset of 1 is in (x, y[, t]): a fraction of the map, or of
            the side of the box.

    Returns:
        (B, N, heads · D), of the type of ``rows``.

    Raises:
        ValueError: if sizes do not fit together, before a kernel reads beyond a tensor.
    """
    shapes, units = tuple(map(tuple, shapes)), tuple(map(tuple, units))
    batch, num_queries, heads, num_levels, num_points, axes = offsets.shape
    num_cells = sum(math.prod(shape) for shape in shapes)
    fits = rows.shape[:3] == (batch, num_cells, heads) and rows[:1].numel() < 2**31
    fits &= logits.shape == offsets.shape[:-1] and len(shapes) == len(units) == num_levels
    fits &= references.shape[-1] == axes or (references.shape[-1], axes) == (4, 2)
    fits &= all(len(some) == axes for some in (*shapes, *units))
    if not fits:
        sizes = [tuple(x.shape) for x in (rows, offsets, logits, references)]
        raise ValueError(f"sizes {sizes} of the arguments do not fit maps of {list(shapes)}")
    references = references.expand(batch, num_queries, num_levels, -1)
    exact = torch.float64 if rows.dtype == torch.float64 else torch.float32
    levels = _level_table(shapes, units, exact, rows.device)
    return _Reading.apply(rows, offsets, logits, references, levels)


class _Reading(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, offsets, logits, references, levels):
        inputs = [x.contiguous() for x in (rows, offsets, logits, references)]
        rows, offsets = inputs[:2]
        batch, _, heads, dim = rows.shape
        out = rows.new_empty(batch, offsets.shape[1], heads * dim)
        with _on_device_of(rows):
            grid, numbers = _launch(rows, offsets, references, _BLOCK_NUMBERS)
            kernels.read_points[grid](*inputs, levels, out, *numbers)
        ctx.save_for_backward(*inputs, levels, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        rows, offsets, logits, references, levels, out = ctx.saved_tensors
        d_rows = torch.zeros_like(rows, dtype=levels.dtype)
        d_offsets, d_logits = torch.empty_like(offsets), torch.empty_like(logits)
        wants_references = ctx.needs_input_grad[3]
        by_head = levels
        if wants_references:
            shape = (*references.shape[:2], rows.shape[2], *references.shape[2:])
            by_head = references.new_empty(shape, dtype=levels.dtype)
        with _on_device_of(rows):
            grid, numbers = _launch(rows, offsets, references, _BLOCK_NUMBERS_OF_GRADIENT)
            kernels.read_points_gradient[grid](
                *(grad.contiguous(), rows, offsets, logits, references, levels, out),
                *(d_rows, d_offsets, d_logits, by_head, *numbers, wants_references),
            )
        d_references = by_head.sum(2).to(references.dtype) if wants_references else None
        return d_rows.to(rows.dtype), d_offsets, d_logits, d_references, None


def _level_table(
    shapes: tuple[tuple[int, ...], ...],
    units: tuple[tuple[float, ...], ...],
    dtype: torch.dtype,
    device: torch.device,
) -> torch.Tensor:
    """Return the table ``levels`` of the kernels. Tables are kept: recorded graphs read them."""
    key = (shapes, units, dtype, device)
    table = _tables.get(key)
    if table is None:
        starts = itertools.accumulate((math.prod(shape) for shape in shapes), initial=0)
        lines = []
        for start, shape, unit in zip(starts, shapes, units):
            sides = [*reversed(shape), 1][:3]
            lines.append([start, *sides, *[*unit, 1.0][:3]])
        with torch.inference_mode(False), torch.no_grad():
            # Filled, not copied: a copy would wait for the GPU, and cannot be recorded.
            numbers = [
                torch.full((), x, dtype=dtype, device=device) for line in lines for x in line
            ]
            table = torch.stack(numbers).view(len(lines), -1)
        if not (device.type == "cuda" and torch.cuda.is_current_stream_capturing()):
            _tables[key] = table
    return table


def _launch(
    rows: torch.Tensor, offsets: torch.Tensor, references: torch.Tensor, block_numbers: int
) -> tuple[tuple[int, int, int], tuple]:
    """Return the grid of programs, and the arguments of both kernels that are no tensors."""
    batch, num_cells, heads, dim = rows.shape
    _, num_queries, _, num_levels, num_points, axes = offsets.shape
    has_boxes = references.shape[-1] != axes
    block_dim = next_power_of_2(dim)
    block_queries = max(block_numbers // block_dim, 1)
    sizes = (num_cells, num_queries, heads, dim, axes, num_levels, num_points, has_boxes)
    blocks = (accumulator(rows.dtype), block_queries, block_dim)
    return (ceil_div(num_queries, block_queries), heads, batch), (*sizes, *blocks)


def _on_device_of(x: torch.Tensor) -> contextlib.AbstractContextManager:
    """Triton launches on the current GPU."""
    return torch.cuda.device(x.device) if x.device.type == "cuda" else contextlib.nullcontext()
