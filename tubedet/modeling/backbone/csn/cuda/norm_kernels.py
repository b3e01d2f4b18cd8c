"""Triton kernels of batch norm and ReLU on rows (N, C), each reading and writing its maps once.

Sums run over chunks of rows, each in a program of its own, around the mean of the chunk; a second,
small kernel puts the chunks together. So they keep the digits that a sum of squares would lose, and
come out the same every time.
"""

import triton
import triton.language as tl


@triton.jit
def relu(x):
    """Like PyTorch's, this keeps what is not a number, so that broken weights are seen."""
    return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def chunk_statistics(
    rows,
    means,
    squares,
    num_rows,
    channels,
    rows_per_chunk,
    ACC: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Fill ``means`` and ``squares`` (chunks, C): each chunk's mean and squared deviations."""
    chunk = tl.program_id(0)
    c = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    inside = c < channels
    first = chunk * rows_per_chunk
    last = tl.minimum(first + rows_per_chunk, num_rows)
    r = tl.arange(0, BLOCK_ROWS)
    total = tl.zeros((BLOCK_ROWS, BLOCK_CHANNELS), ACC)
    total_squares = tl.zeros((BLOCK_ROWS, BLOCK_CHANNELS), ACC)
    # Deviations from the first rows' mean, so that squares stay small.
    mask = (first + r < last)[:, None] & inside[None, :]
    offsets = (first + r).to(tl.int64)[:, None] * channels + c[None, :]
    values = tl.load(rows + offsets, mask=mask, other=0.0).to(ACC)
    reference = tl.sum(values, 0) / tl.minimum(last - first, BLOCK_ROWS).to(ACC)
    for start in range(first, last, BLOCK_ROWS):
        mask = (start + r < last)[:, None] & inside[None, :]
        offsets = (start + r).to(tl.int64)[:, None] * channels + c[None, :]
        values = tl.load(rows + offsets, mask=mask, other=0.0).to(ACC)
        deviation = tl.where(mask, values - reference[None, :], 0.0)
        total += deviation
        total_squares += deviation * deviation
    count = (last - first).to(ACC)
    shift = tl.sum(total, 0) / count
    out = chunk * channels + c
    tl.store(means + out, reference + shift, mask=inside)
    tl.store(squares + out, tl.sum(total_squares, 0) - shift * shift * count, mask=inside)


@triton.jit
def finish_statistics(
    means,
    squares,
    num_chunks,
    rows_per_chunk,
    num_rows,
    channels,
    weight,
    bias,
    running_mean,
    running_var,
    batches,
    values,
    EPS: tl.constexpr,
    MOMENTUM: tl.constexpr,
    OF_BATCH: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_CHUNKS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Fill ``values`` (4, C) with what a norm applies: scale, shift, mean and 1 / deviation.

    With OF_BATCH the chunks' statistics are put together and the running averages updated; without,
    the running averages are applied. EPS and MOMENTUM are constants, because numbers that are
    handed to a kernel are float32, whatever the maps are.
    """
    c = tl.program_id(0) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    inside = c < channels
    if OF_BATCH:
        count = num_rows.to(ACC)
        r = tl.arange(0, BLOCK_CHUNKS)
        total = tl.zeros((BLOCK_CHANNELS,), ACC)
        for start in range(0, num_chunks, BLOCK_CHUNKS):
            chunk = start + r
            size = tl.maximum(tl.minimum(num_rows - chunk * rows_per_chunk, rows_per_chunk), 0)
            mask = (chunk < num_chunks)[:, None] & inside[None, :]
            offsets = chunk[:, None] * channels + c[None, :]
            part = tl.load(means + offsets, mask=mask, other=0.0)
            total += tl.sum(part * size.to(ACC)[:, None], 0)
        mean = total / count
        total = tl.zeros((BLOCK_CHANNELS,), ACC)
        for start in range(0, num_chunks, BLOCK_CHUNKS):
            chunk = start + r
            size = tl.maximum(tl.minimum(num_rows - chunk * rows_per_chunk, rows_per_chunk), 0)
            mask = (chunk < num_chunks)[:, None] & inside[None, :]
            offsets = chunk[:, None] * channels + c[None, :]
            deviation = tl.load(means + offsets, mask=mask, other=0.0) - mean[None, :]
            part = tl.load(squares + offsets, mask=mask, other=0.0)
            part += deviation * deviation * size.to(ACC)[:, None]
            total += tl.sum(tl.where(mask, part, 0.0), 0)
        variance = total / count
        old_mean = tl.load(running_mean + c, mask=inside, other=0.0).to(ACC)
        old_var = tl.load(running_var + c, mask=inside, other=0.0).to(ACC)
        unbiased = total / (count - 1)
        kind = running_mean.dtype.element_ty
        new_mean = old_mean + MOMENTUM * (mean - old_mean)
        tl.store(running_mean + c, new_mean.to(kind), mask=inside)
        new_var = old_var + MOMENTUM * (unbiased - old_var)
        tl.store(running_var + c, new_var.to(kind), mask=inside)
        if tl.program_id(0) == 0:
            tl.store(batches, tl.load(batches) + 1)
    else:
        mean = tl.load(running_mean + c, mask=inside, other=0.0).to(ACC)
        variance = tl.load(running_var + c, mask=inside, other=1.0).to(ACC)
    inverse = 1.0 / tl.sqrt(variance + EPS)
    scale = tl.load(weight + c, mask=inside, other=0.0).to(ACC) * inverse
    shift = tl.load(bias + c, mask=inside, other=0.0).to(ACC) - mean * scale
    tl.store(values + c, scale, mask=inside)
    tl.store(values + channels + c, shift, mask=inside)
    tl.store(values + 2 * channels + c, mean, mask=inside)
    tl.store(values + 3 * channels + c, inverse, mask=inside)


@triton.jit
def norm_relu(
    rows,
    norm,
    other,
    other_norm,
    out,
    num_rows,
    channels,
    HAS_OTHER: tl.constexpr,
    NORMS_OTHER: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """ReLU of normed rows, to which other rows, perhaps with a norm of their own, are added."""
    r = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    c = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    inside = c < channels
    mask = (r < num_rows)[:, None] & inside[None, :]
    offsets = r.to(tl.int64)[:, None] * channels + c[None, :]
    scale = tl.load(norm + c, mask=inside, other=0.0)
    shift = tl.load(norm + channels + c, mask=inside, other=0.0)
    value = tl.load(rows + offsets, mask=mask, other=0.0).to(ACC)
    value = value * scale[None, :] + shift[None, :]
    if HAS_OTHER:
        added = tl.load(other + offsets, mask=mask, other=0.0).to(ACC)
        if NORMS_OTHER:
            scale = tl.load(other_norm + c, mask=inside, other=0.0)
            shift = tl.load(other_norm + channels + c, mask=inside, other=0.0)
            added = added * scale[None, :] + shift[None, :]
        value += added
    tl.store(out + offsets, relu(value).to(out.dtype.element_ty), mask=mask)


@triton.jit
def chunk_gradients(
    grad,
    rows,
    activated,
    norm,
    masked,
    sums,
    products,
    num_rows,
    channels,
    rows_per_chunk,
    RELU: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Per chunk the sums (chunks, C) of the gradient, and of it times the rows' deviations.

    RELU is 0 for none, 1 for a ReLU of the normed rows, 2 for one whose output is ``activated``;
    with it, ``masked`` takes the gradient behind it.
    """
    chunk = tl.program_id(0)
    c = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    inside = c < channels
    first = chunk * rows_per_chunk
    last = tl.minimum(first + rows_per_chunk, num_rows)
    r = tl.arange(0, BLOCK_ROWS)
    scale = tl.load(norm + c, mask=inside, other=0.0)
    shift = tl.load(norm + channels + c, mask=inside, other=0.0)
    mean = tl.load(norm + 2 * channels + c, mask=inside, other=0.0)
    total = tl.zeros((BLOCK_ROWS, BLOCK_CHANNELS), ACC)
    total_products = tl.zeros((BLOCK_ROWS, BLOCK_CHANNELS), ACC)
    for start in range(first, last, BLOCK_ROWS):
        mask = (start + r < last)[:, None] & inside[None, :]
        offsets = (start + r).to(tl.int64)[:, None] * channels + c[None, :]
        d = tl.load(grad + offsets, mask=mask, other=0.0).to(ACC)
        value = tl.load(rows + offsets, mask=mask, other=0.0).to(ACC)
        if RELU == 1:
            d = tl.where(value * scale[None, :] + shift[None, :] > 0, d, 0.0)
        if RELU == 2:
            d = tl.where(tl.load(activated + offsets, mask=mask, other=0.0) > 0, d, 0.0)
        if RELU > 0:
            tl.store(masked + offsets, d.to(masked.dtype.element_ty), mask=mask)
        total += d
        total_products += d * (value - mean[None, :])
    out = chunk * channels + c
    tl.store(sums + out, tl.sum(total, 0), mask=inside)
    tl.store(products + out, tl.sum(total_products, 0), mask=inside)


@triton.jit
def finish_gradients(
    sums,
    products,
    num_chunks,
    num_rows,
    channels,
    norm,
    gradients,
    OF_BATCH: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_CHUNKS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Fill ``gradients`` (4, C): of the norm's weight and bias, and slope and offset.

    The gradient of the rows is that of the output times the norm's scale, plus the rows times the
    slope, plus the offset.
    """
    c = tl.program_id(0) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    inside = c < channels
    r = tl.arange(0, BLOCK_CHUNKS)
    d_bias = tl.zeros((BLOCK_CHANNELS,), ACC)
    d_weight = tl.zeros((BLOCK_CHANNELS,), ACC)
    for start in range(0, num_chunks, BLOCK_CHUNKS):
        mask = (start + r < num_chunks)[:, None] & inside[None, :]
        offsets = (start + r)[:, None] * channels + c[None, :]
        d_bias += tl.sum(tl.load(sums + offsets, mask=mask, other=0.0), 0)
        d_weight += tl.sum(tl.load(products + offsets, mask=mask, other=0.0), 0)
    scale = tl.load(norm + c, mask=inside, other=0.0)
    mean = tl.load(norm + 2 * channels + c, mask=inside, other=0.0)
    inverse = tl.load(norm + 3 * channels + c, mask=inside, other=0.0)
    d_weight *= inverse
    slope = tl.zeros((BLOCK_CHANNELS,), ACC)
    offset = tl.zeros((BLOCK_CHANNELS,), ACC)
    if OF_BATCH:
        count = num_rows.to(ACC)
        slope = -scale * inverse * d_weight / count
        offset = -scale * d_bias / count - slope * mean
    tl.store(gradients + c, d_weight, mask=inside)
    tl.store(gradients + channels + c, d_bias, mask=inside)
    tl.store(gradients + 2 * channels + c, slope, mask=inside)
    tl.store(gradients + 3 * channels + c, offset, mask=inside)


@triton.jit
def rows_gradient(
    grad,
    rows,
    norm,
    gradients,
    out,
    num_rows,
    channels,
    ACC: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Gradient of the rows before a norm, see :func:`finish_gradients`."""
    r = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    c = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    inside = c < channels
    mask = (r < num_rows)[:, None] & inside[None, :]
    offsets = r.to(tl.int64)[:, None] * channels + c[None, :]
    scale = tl.load(norm + c, mask=inside, other=0.0)
    slope = tl.load(gradients + 2 * channels + c, mask=inside, other=0.0)
    offset = tl.load(gradients + 3 * channels + c, mask=inside, other=0.0)
    d = tl.load(grad + offsets, mask=mask, other=0.0).to(ACC) * scale[None, :]
    value = tl.load(rows + offsets, mask=mask, other=0.0).to(ACC)
    d += value * slope[None, :] + offset[None, :]
    tl.store(out + offsets, d.to(out.dtype.element_ty), mask=mask)
