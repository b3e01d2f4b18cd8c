"""Triton kernels of a depthwise 3x3x3 convolution with padding 1, on maps (B, T, H, W, C).

A program takes some places of the output, all rows and columns in a row, for some channels and some
frames. At temporal stride 1 it slides along time: the nine places that it reads in a frame serve
three frames of the output. Sums are float32 at least. Weights are (27, C): time, row, column.
"""

import triton
import triton.language as tl

from .norm_kernels import relu


@triton.jit
def depthwise(
    maps,
    weight,
    norm,
    bias,
    out,
    num_frames,
    height,
    width,
    out_frames,
    out_height,
    out_width,
    channels,
    frames_per_program,
    TIME_STEP: tl.constexpr,
    ROW_STEP: tl.constexpr,
    COLUMN_STEP: tl.constexpr,
    NORMS_INPUT: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_PLACES: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Convolve. NORMS_INPUT: of the ReLU of the normed maps; HAS_BIAS: add it and take the ReLU."""
    num_places = out_height * out_width
    blocks = tl.cdiv(num_places, BLOCK_PLACES)
    block = tl.program_id(0) % blocks
    b = tl.program_id(0) // blocks
    places = block * BLOCK_PLACES + tl.arange(0, BLOCK_PLACES)
    row = places // out_width
    column = places % out_width
    c = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    known = c < channels
    first = tl.program_id(2) * frames_per_program
    last = tl.minimum(first + frames_per_program, out_frames)
    scale = tl.zeros((BLOCK_CHANNELS,), ACC)
    shift = tl.zeros((BLOCK_CHANNELS,), ACC)
    added = tl.zeros((BLOCK_CHANNELS,), ACC)
    if NORMS_INPUT:
        scale = tl.load(norm + c, mask=known, other=0.0)
        shift = tl.load(norm + channels + c, mask=known, other=0.0)
    if HAS_BIAS:
        added = tl.load(bias + c, mask=known, other=0.0).to(ACC)
    frame_numbers = height * width
    written = (places < num_places)[:, None] & known[None, :]
    previous = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
    current = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
    if TIME_STEP == 1:
        for t in range(first - 1, last + 1):
            following = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
            if (t >= 0) & (t < num_frames):
                frame = maps + (b * num_frames + t).to(tl.int64) * frame_numbers * channels
                for k in tl.static_range(9):
                    y = row * ROW_STEP + (k // 3 - 1)
                    x = column * COLUMN_STEP + (k % 3 - 1)
                    seen = (y >= 0) & (y < height) & (x >= 0) & (x < width)
                    mask = seen[:, None] & written
                    offsets = (y * width + x)[:, None] * channels + c[None, :]
                    value = tl.load(frame + offsets, mask=mask, other=0.0).to(ACC)
                    if NORMS_INPUT:
                        value = relu(value * scale[None, :] + shift[None, :])
                        value = tl.where(mask, value, 0.0)
                    taps = weight + k * channels + c
                    w = tl.load(taps + 18 * channels, mask=known, other=0.0).to(ACC)
                    previous += value * w[None, :]
                    w = tl.load(taps + 9 * channels, mask=known, other=0.0).to(ACC)
                    current += value * w[None, :]
                    w = tl.load(taps, mask=known, other=0.0).to(ACC)
                    following += value * w[None, :]
            if t > first:
                result = previous + added[None, :]
                if HAS_BIAS:
                    result = relu(result)
                frame = (b * out_frames + t - 1).to(tl.int64) * num_places * channels
                offsets = places[:, None] * channels + c[None, :]
                tl.store(out + frame + offsets, result.to(out.dtype.element_ty), mask=written)
            previous = current
            current = following
    else:
        for t in range(first, last):
            current = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
            for step in tl.static_range(3):
                source = t * TIME_STEP + step - 1
                if (source >= 0) & (source < num_frames):
                    frame = maps + (b * num_frames + source).to(tl.int64) * frame_numbers * channels
                    for k in tl.static_range(9):
                        y = row * ROW_STEP + (k // 3 - 1)
                        x = column * COLUMN_STEP + (k % 3 - 1)
                        seen = (y >= 0) & (y < height) & (x >= 0) & (x < width)
                        mask = seen[:, None] & written
                        offsets = (y * width + x)[:, None] * channels + c[None, :]
                        value = tl.load(frame + offsets, mask=mask, other=0.0).to(ACC)
                        if NORMS_INPUT:
                            value = relu(value * scale[None, :] + shift[None, :])
                            value = tl.where(mask, value, 0.0)
                        taps = weight + (step * 9 + k) * channels + c
                        current += value * tl.load(taps, mask=known, other=0.0).to(ACC)[None, :]
            result = current + added[None, :]
            if HAS_BIAS:
                result = relu(result)
            frame = (b * out_frames + t).to(tl.int64) * num_places * channels
            offsets = places[:, None] * channels + c[None, :]
            tl.store(out + frame + offsets, result.to(out.dtype.element_ty), mask=written)


@triton.jit
def depthwise_input_gradient(
    grad,
    weight,
    d_maps,
    num_frames,
    height,
    width,
    out_frames,
    out_height,
    out_width,
    channels,
    TIME_STEP: tl.constexpr,
    ROW_STEP: tl.constexpr,
    COLUMN_STEP: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_PLACES: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Gather the gradient of the maps, of strided convolutions; ``grad`` is of the output."""
    num_places = height * width
    blocks = tl.cdiv(num_places, BLOCK_PLACES)
    block = tl.program_id(0) % blocks
    b = tl.program_id(0) // blocks
    places = block * BLOCK_PLACES + tl.arange(0, BLOCK_PLACES)
    row = places // width
    column = places % width
    c = tl.program_id(1) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    known = c < channels
    t = tl.program_id(2)
    written = (places < num_places)[:, None] & known[None, :]
    total = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
    for step in tl.static_range(3):
        # Frame t was read at this step by the output frame (t + 1 - step) / TIME_STEP.
        shifted = t + 1 - step
        source = shifted // TIME_STEP
        if (shifted >= 0) & (shifted % TIME_STEP == 0) & (source < out_frames):
            frame = (
                grad + (b * out_frames + source).to(tl.int64) * out_height * out_width * channels
            )
            for k in tl.static_range(9):
                y = row + (1 - k // 3)
                x = column + (1 - k % 3)
                out_y = y // ROW_STEP
                out_x = x // COLUMN_STEP
                seen = (y >= 0) & (y % ROW_STEP == 0) & (out_y < out_height)
                seen = seen & (x >= 0) & (x % COLUMN_STEP == 0) & (out_x < out_width)
                offsets = (out_y * out_width + out_x)[:, None] * channels + c[None, :]
                value = tl.load(frame + offsets, mask=seen[:, None] & written, other=0.0).to(ACC)
                taps = weight + (step * 9 + k) * channels + c
                total += value * tl.load(taps, mask=known, other=0.0).to(ACC)[None, :]
    frame = (b * num_frames + t).to(tl.int64) * num_places * channels
    offsets = places[:, None] * channels + c[None, :]
    tl.store(d_maps + frame + offsets, total.to(d_maps.dtype.element_ty), mask=written)


@triton.jit
def depthwise_weight_gradient(
    maps,
    grad,
    norm,
    parts,
    num_frames,
    height,
    width,
    out_frames,
    out_height,
    out_width,
    channels,
    blocks_per_program,
    num_blocks,
    TIME_STEP: tl.constexpr,
    ROW_STEP: tl.constexpr,
    COLUMN_STEP: tl.constexpr,
    NORMS_INPUT: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_PLACES: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Sum the gradient of the weight over some places: ``parts`` (programs, 27, C).

    A program is for one of the three rows of the kernel, and takes the places through all frames.
    """
    tap_row = tl.program_id(0)
    program = tl.program_id(1)
    c = tl.program_id(2) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    known = c < channels
    num_places = out_height * out_width
    blocks = tl.cdiv(num_places, BLOCK_PLACES)
    scale = tl.zeros((BLOCK_CHANNELS,), ACC)
    shift = tl.zeros((BLOCK_CHANNELS,), ACC)
    if NORMS_INPUT:
        scale = tl.load(norm + c, mask=known, other=0.0)
        shift = tl.load(norm + channels + c, mask=known, other=0.0)
    # One sum for each step in time (0 .. 2) and column (0 .. 2) of the kernel.
    s00 = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
    s01 = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
    s02 = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
    s10 = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
    s11 = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
    s12 = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
    s20 = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
    s21 = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
    s22 = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
    first = program * blocks_per_program
    for number in range(first, tl.minimum(first + blocks_per_program, num_blocks)):
        b = number // blocks
        places = (number % blocks) * BLOCK_PLACES + tl.arange(0, BLOCK_PLACES)
        written = (places < num_places)[:, None] & known[None, :]
        y = (places // out_width) * ROW_STEP + tap_row - 1
        x = (places % out_width) * COLUMN_STEP
        row_seen = (y >= 0) & (y < height)
        m0 = (row_seen & (x >= 1) & (x - 1 < width))[:, None] & written
        m1 = (row_seen & (x < width))[:, None] & written
        m2 = (row_seen & (x + 1 < width))[:, None] & written
        inner = (y * width + x)[:, None] * channels + c[None, :]
        outer = places[:, None] * channels + c[None, :]
        for t in range(0, num_frames):
            frame = maps + (b * num_frames + t).to(tl.int64) * height * width * channels
            v0 = tl.load(frame + inner - channels, mask=m0, other=0.0).to(ACC)
            v1 = tl.load(frame + inner, mask=m1, other=0.0).to(ACC)
            v2 = tl.load(frame + inner + channels, mask=m2, other=0.0).to(ACC)
            if NORMS_INPUT:
                v0 = tl.where(m0, relu(v0 * scale[None, :] + shift[None, :]), 0.0)
                v1 = tl.where(m1, relu(v1 * scale[None, :] + shift[None, :]), 0.0)
                v2 = tl.where(m2, relu(v2 * scale[None, :] + shift[None, :]), 0.0)
            for step in tl.static_range(3):
                shifted = t + 1 - step
                source = shifted // TIME_STEP
                if (shifted >= 0) & (shifted % TIME_STEP == 0) & (source < out_frames):
                    behind = (b * out_frames + source).to(tl.int64) * num_places * channels
                    d = tl.load(grad + behind + outer, mask=written, other=0.0).to(ACC)
                    if step == 0:
                        s00 += d * v0
                        s01 += d * v1
                        s02 += d * v2
                    if step == 1:
                        s10 += d * v0
                        s11 += d * v1
                        s12 += d * v2
                    if step == 2:
                        s20 += d * v0
                        s21 += d * v1
                        s22 += d * v2
    out = parts + (program * 27 + tap_row * 3) * channels + c
    tl.store(out, tl.sum(s00, 0), mask=known)
    tl.store(out + channels, tl.sum(s01, 0), mask=known)
    tl.store(out + 2 * channels, tl.sum(s02, 0), mask=known)
    tl.store(out + 9 * channels, tl.sum(s10, 0), mask=known)
    tl.store(out + 10 * channels, tl.sum(s11, 0), mask=known)
    tl.store(out + 11 * channels, tl.sum(s12, 0), mask=known)
    tl.store(out + 18 * channels, tl.sum(s20, 0), mask=known)
    tl.store(out + 19 * channels, tl.sum(s21, 0), mask=known)
    tl.store(out + 20 * channels, tl.sum(s22, 0), mask=known)
