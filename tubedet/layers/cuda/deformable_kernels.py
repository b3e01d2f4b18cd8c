"""Triton kernels of deformable attention: softmax of the weights, places, reading, weighted sum.

All work on a block of queries of one head and clip. What they share:

    rows: (B, S, heads, D), the cells of all levels.
    offsets: (B, N, heads, L, P, axes) of points in (x, y) or (x, y, t).
    logits: (B, N, heads, L, P).
    references: (B, N, L, 2 or 3), fractions of the maps, or boxes (cx, cy, w, h).
    levels: (L, 7): the number of the first cell, sides in (x, y, t), and what an offset of 1 is as
        a fraction of a map, in (x, y, t).
"""

import triton
import triton.language as tl


@triton.jit
def _softmax_of(logits, first, asked, NUM: tl.constexpr, ACC: tl.constexpr):
    """Largest logit of each query, and the sum of exponentials relative to it."""
    largest = tl.full(first.shape, float("-inf"), ACC)
    for i in range(NUM):
        largest = tl.maximum(largest, tl.load(logits + first + i, mask=asked, other=0.0).to(ACC))
    total = tl.zeros(first.shape, ACC)
    for i in range(NUM):
        value = tl.load(logits + first + i, mask=asked, other=0.0).to(ACC)
        total += tl.exp(value - largest)
    return largest, total


@triton.jit
def _queries(num_queries, heads, dim, BLOCK_QUERIES: tl.constexpr, BLOCK_DIM: tl.constexpr):
    """Return what a program works on: clip, head, queries, channels, masks."""
    head = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    n = tl.program_id(0) * BLOCK_QUERIES + tl.arange(0, BLOCK_QUERIES)
    d = tl.arange(0, BLOCK_DIM)
    asked = n < num_queries
    return b, head, b * num_queries + n, d[None, :], asked, asked[:, None] & (d < dim)[None, :]


@triton.jit
def _cells(
    references,
    place,
    offsets,
    point,
    asked,
    level,
    AXIS: tl.constexpr,
    BOXES: tl.constexpr,
    ACC: tl.constexpr,
):
    """Cell below a place along an axis, the share of the one above, number of cells, and step.

    The step is what an offset of 1 is, as a fraction of the map.
    """
    step = tl.load(level + 4 + AXIS).to(ACC)
    if BOXES:
        step *= tl.load(references + place + 2 + AXIS, mask=asked, other=0.0).to(ACC)
    centre = tl.load(references + place + AXIS, mask=asked, other=0.0).to(ACC)
    offset = tl.load(offsets + point + AXIS, mask=asked, other=0.0).to(ACC)
    side = tl.load(level + 1 + AXIS).to(ACC)
    x = (centre + offset * step) * side - 0.5
    low = tl.floor(x)
    return low, x - low, side, step


@triton.jit
def _corner(low, share, side, UPPER: tl.constexpr):
    """Cell below or above a place, its part, and whether it is on the map: 0 and 0 if not.

    The part is NaN where the place is NaN.
    """
    if UPPER:
        low += 1
        part = share
    else:
        part = 1 - share
    inside = (low >= 0) & (low < side)
    cell = tl.where(inside, low, 0.0).to(tl.int32)
    return cell, tl.where(inside | (low != low), part, 0.0), inside


@triton.jit
def read_points(
    rows,
    offsets,
    logits,
    references,
    levels,
    out,
    num_cells,
    num_queries,
    heads,
    dim,
    AXES: tl.constexpr,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    BOXES: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """Weighted sums of what is read at the points, (B, N, heads, D)."""
    b, head, query, d, asked, written = _queries(num_queries, heads, dim, BLOCK_QUERIES, BLOCK_DIM)
    first = (query * heads + head) * (LEVELS * POINTS)
    largest, total = _softmax_of(logits, first, asked, LEVELS * POINTS, ACC)
    values = rows + (b * num_cells * heads + head) * dim + d
    result = tl.zeros((BLOCK_QUERIES, BLOCK_DIM), ACC)
    for i in range(LEVELS * POINTS):
        level = levels + i // POINTS * 7
        start = tl.load(level).to(tl.int32)
        place = (query * LEVELS + i // POINTS) * (4 if BOXES else AXES)
        point = (first + i) * AXES
        low_x, share_x, side_x, step_x = _cells(
            references, place, offsets, point, asked, level, 0, BOXES, ACC
        )
        low_y, share_y, side_y, step_y = _cells(
            references, place, offsets, point, asked, level, 1, BOXES, ACC
        )
        logit = tl.load(logits + first + i, mask=asked, other=0.0).to(ACC)
        weight = tl.exp(logit - largest) / total
        if AXES == 3:
            low_t, share_t, side_t, step_t = _cells(
                references, place, offsets, point, asked, level, 2, BOXES, ACC
            )
        for k in tl.static_range(1 << AXES):
            x, part, inside = _corner(low_x, share_x, side_x, k & 1)
            y, part_y, inside_y = _corner(low_y, share_y, side_y, (k >> 1) & 1)
            part *= part_y
            inside &= inside_y
            if AXES == 3:
                t, part_t, inside_t = _corner(low_t, share_t, side_t, k >> 2)
                part *= part_t
                inside &= inside_t
                y += t * side_y.to(tl.int32)
            cell = start + y * side_x.to(tl.int32) + x
            address = (cell * (heads * dim))[:, None]
            seen = written & inside[:, None]
            value = tl.load(values + address, mask=seen, other=0.0).to(ACC)
            result += (weight * part)[:, None] * value
    out += ((query * heads + head) * dim)[:, None] + d
    tl.store(out, result.to(out.dtype.element_ty), mask=written)


@triton.jit
def read_points_gradient(
    grad,
    rows,
    offsets,
    logits,
    references,
    levels,
    out,
    d_rows,
    d_offsets,
    d_logits,
    d_references,
    num_cells,
    num_queries,
    heads,
    dim,
    AXES: tl.constexpr,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    BOXES: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
    WANTS_REFERENCES: tl.constexpr,
):
    """Gradients of all that :func:`read_points` reads; ``grad`` is that of its result ``out``.

    ``d_rows`` (B, S, heads, D) starts with zeros, to which is added. ``d_references`` is (B, N,
    heads, L, 2, 3 or 4), head by head; it is written if WANTS_REFERENCES.
    """
    b, head, query, d, asked, written = _queries(num_queries, heads, dim, BLOCK_QUERIES, BLOCK_DIM)
    first = (query * heads + head) * (LEVELS * POINTS)
    largest, total = _softmax_of(logits, first, asked, LEVELS * POINTS, ACC)
    source = (b * num_cells * heads + head) * dim + d
    result = ((query * heads + head) * dim)[:, None] + d
    upstream = tl.load(grad + result, mask=written, other=0.0).to(ACC)
    # What all weights of a query share, since they add up to 1.
    shared = tl.sum(upstream * tl.load(out + result, mask=written, other=0.0).to(ACC), axis=1)
    for index in range(LEVELS):
        level = levels + index * 7
        start = tl.load(level).to(tl.int32)
        place = (query * LEVELS + index) * (4 if BOXES else AXES)
        d_x = tl.zeros(query.shape, ACC)
        d_y = tl.zeros(query.shape, ACC)
        d_t = tl.zeros(query.shape, ACC)
        d_width = tl.zeros(query.shape, ACC)
        d_height = tl.zeros(query.shape, ACC)
        for p in range(POINTS):
            one = first + index * POINTS + p
            low_x, share_x, side_x, step_x = _cells(
                references, place, offsets, one * AXES, asked, level, 0, BOXES, ACC
            )
            low_y, share_y, side_y, step_y = _cells(
                references, place, offsets, one * AXES, asked, level, 1, BOXES, ACC
            )
            if AXES == 3:
                low_t, share_t, side_t, step_t = _cells(
                    references, place, offsets, one * AXES, asked, level, 2, BOXES, ACC
                )
            logit = tl.load(logits + one, mask=asked, other=0.0).to(ACC)
            weight = tl.exp(logit - largest) / total
            along = tl.zeros(query.shape, ACC)  # the result's gradient along what is read here
            along_x = tl.zeros(query.shape, ACC)
            along_y = tl.zeros(query.shape, ACC)
            along_t = tl.zeros(query.shape, ACC)
            for k in tl.static_range(1 << AXES):
                x, part_x, inside = _corner(low_x, share_x, side_x, k & 1)
                y, part_y, inside_y = _corner(low_y, share_y, side_y, (k >> 1) & 1)
                # The part of a cell on the map rises or falls by 1 a cell.
                slope_x = part_y * (2.0 * (k & 1) - 1)
                slope_y = part_x * (1.0 * (k & 2) - 1)
                part = part_x * part_y
                inside &= inside_y
                if AXES == 3:
                    t, part_t, inside_t = _corner(low_t, share_t, side_t, k >> 2)
                    slope_t = part * (0.5 * (k & 4) - 1)
                    y += t * side_y.to(tl.int32)
                    inside &= inside_t
                    part *= part_t
                    slope_x *= part_t
                    slope_y *= part_t
                cell = start + y * side_x.to(tl.int32) + x
                address = (cell * (heads * dim))[:, None] + source
                seen = written & inside[:, None]
                value = tl.load(rows + address, mask=seen, other=0.0).to(ACC)
                agreement = tl.sum(upstream * value, axis=1)
                along += part * agreement
                along_x += slope_x * agreement
                along_y += slope_y * agreement
                if AXES == 3:
                    along_t += slope_t * agreement
                tl.atomic_add(
                    d_rows + address,
                    (weight * part)[:, None] * upstream,
                    mask=written & (part != 0)[:, None],
                    sem="relaxed",
                )
            d_logit = weight * (along - shared)
            tl.store(d_logits + one, d_logit.to(d_logits.dtype.element_ty), mask=asked)
            along_x *= weight * side_x
            along_y *= weight * side_y
            kind = d_offsets.dtype.element_ty
            tl.store(d_offsets + one * AXES, (along_x * step_x).to(kind), mask=asked)
            tl.store(d_offsets + one * AXES + 1, (along_y * step_y).to(kind), mask=asked)
            d_x += along_x
            d_y += along_y
            if AXES == 3:
                along_t *= weight * side_t
                tl.store(d_offsets + one * AXES + 2, (along_t * step_t).to(kind), mask=asked)
                d_t += along_t
            if BOXES:
                offset_x = tl.load(offsets + one * AXES, mask=asked, other=0.0).to(ACC)
                offset_y = tl.load(offsets + one * AXES + 1, mask=asked, other=0.0).to(ACC)
                d_width += along_x * offset_x * tl.load(level + 4).to(ACC)
                d_height += along_y * offset_y * tl.load(level + 5).to(ACC)
        if WANTS_REFERENCES:
            target = ((query * heads + head) * LEVELS + index) * (4 if BOXES else AXES)
            tl.store(d_references + target, d_x, mask=asked)
            tl.store(d_references + target + 1, d_y, mask=asked)
            if AXES == 3:
                tl.store(d_references + target + 2, d_t, mask=asked)
            if BOXES:
                tl.store(d_references + target + 2, d_width, mask=asked)
                tl.store(d_references + target + 3, d_height, mask=asked)
