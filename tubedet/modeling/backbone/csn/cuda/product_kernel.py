"""A Triton kernel of matrix products that adds a bias and other rows, and takes the ReLU."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from tubedet.layers import convolutions_use_tf32
from tubedet.layers.cuda.grid_sizes import ceil_div, next_power_of_2

from .norm_kernels import relu


@triton.jit
def product_sum_relu(
    rows,
    matrix,
    bias,
    other,
    out,
    num_rows,
    num_out,
    channels,
    PRECISION: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """ReLU of ``rows`` (N, C) times ``matrix`` (C, D), plus ``bias`` (D,) and ``other`` (N, D)."""
    r = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    d = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    c = tl.arange(0, BLOCK_CHANNELS)
    from_rows = rows + r.to(tl.int64)[:, None] * channels + c[None, :]
    from_matrix = matrix + c[:, None] * num_out + d[None, :]
    total = tl.zeros((BLOCK_ROWS, BLOCK_OUT), ACC)
    for start in range(0, channels, BLOCK_CHANNELS):
        left = c < channels - start
        a = tl.load(from_rows, mask=(r < num_rows)[:, None] & left[None, :], other=0.0)
        b = tl.load(from_matrix, mask=left[:, None] & (d < num_out)[None, :], other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION, out_dtype=ACC)
        from_rows += BLOCK_CHANNELS
        from_matrix += BLOCK_CHANNELS * num_out
    mask = (r < num_rows)[:, None] & (d < num_out)[None, :]
    offsets = r.to(tl.int64)[:, None] * num_out + d[None, :]
    total += tl.load(bias + d, mask=d < num_out, other=0.0).to(ACC)[None, :]
    total += tl.load(other + offsets, mask=mask, other=0.0).to(ACC)
    tl.store(out + offsets, relu(total).to(out.dtype.element_ty), mask=mask)


def relu_of_product_sum(
    rows: torch.Tensor, matrix: torch.Tensor, bias: torch.Tensor, other: torch.Tensor
) -> torch.Tensor:
    """Return ``relu(rows @ matrix + bias + other)``, with one pass over the largest maps.

    Args:
        rows: (N, C).
        matrix: (C, D).
        bias: (D,).
        other: (N, D).
    """
    if rows.dtype == torch.float64:  # which tensor cores do not know
        return (other + bias).addmm_(rows, matrix).relu_()
    num_rows, channels = rows.shape
    num_out = matrix.shape[1]
    out = torch.empty_like(other)
    # What was fastest on an H100.
    most = (64, 128, 64) if rows.element_size() == 2 else (128, 128, 32)
    block_rows, block_out, block_channels = (
        min(number, max(16, next_power_of_2(side)))
        for number, side in zip(most, (num_rows, num_out, channels))
    )
    is_tf32 = rows.is_cuda and convolutions_use_tf32()
    grid = (ceil_div(num_rows, block_rows), ceil_div(num_out, block_out))
    product_sum_relu[grid](
        *(rows, matrix, bias, other, out, num_rows, num_out, channels),
        *("tf32" if is_tf32 else "ieee", tl.float32),
        *(block_rows, block_out, block_channels),
        num_warps=8 if block_rows * block_out == 128 * 128 else 4,
    )
    return out
