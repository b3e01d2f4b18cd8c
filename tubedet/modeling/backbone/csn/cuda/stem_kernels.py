"""Triton kernels of a CSN's stem: windows of three frames, and batch norm, ReLU and max pooling."""

import triton
import triton.language as tl

from .norm_kernels import relu


@triton.jit
def frame_windows(
    clips,
    windows,
    num_frames,
    frame_numbers,
    BLOCK_PLACES: tl.constexpr,
    NUM_CHANNELS: tl.constexpr,
):
    """Nine colours of each place, those of three frames: (B, 3, T, H, W) -> (B, T, H, W, channels).

    Channels from the tenth on, and frames beyond the ends, are zero.
    """
    t = tl.program_id(1)
    b = tl.program_id(2)
    places = tl.program_id(0) * BLOCK_PLACES + tl.arange(0, BLOCK_PLACES)
    channel = tl.arange(0, NUM_CHANNELS)
    source = t - 1 + channel // 3
    colour = channel % 3
    seen = (channel < 9) & (source >= 0) & (source < num_frames)
    frame = ((b * 3 + colour) * num_frames + source).to(tl.int64) * frame_numbers
    inside = places < frame_numbers
    value = tl.load(
        clips + frame[None, :] + places[:, None], mask=seen[None, :] & inside[:, None], other=0.0
    )
    out = (b * num_frames + t).to(tl.int64) * frame_numbers * NUM_CHANNELS
    out = windows + out + places[:, None] * NUM_CHANNELS + channel[None, :]
    tl.store(out, value.to(windows.dtype.element_ty), mask=inside[:, None])


@triton.jit
def norm_relu_pool(
    maps,
    norm,
    out,
    places,
    height,
    width,
    out_height,
    out_width,
    channels,
    KEEPS_PLACES: tl.constexpr,
    ACC: tl.constexpr,
    BLOCK_PLACES: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """ReLU of the normed maps (N, H, W, C), pooled by 3x3 maxima of stride 2 and padding 1.

    KEEPS_PLACES: ``places`` takes which of the nine is the largest, the first one of equals.
    """
    frame = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BLOCK_PLACES + tl.arange(0, BLOCK_PLACES)
    row = p // out_width * 2
    column = p % out_width * 2
    c = tl.program_id(2) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    known = c < channels
    written = (p < out_height * out_width)[:, None] & known[None, :]
    scale = tl.load(norm + c, mask=known, other=0.0)
    shift = tl.load(norm + channels + c, mask=known, other=0.0)
    largest = tl.full((BLOCK_PLACES, BLOCK_CHANNELS), -1.0, ACC)
    place = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), tl.int32)
    source = maps + frame * height * width * channels
    for k in tl.static_range(9):
        y = row + (k // 3 - 1)
        x = column + (k % 3 - 1)
        seen = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        mask = seen[:, None] & written
        offsets = (y * width + x)[:, None] * channels + c[None, :]
        value = tl.load(source + offsets, mask=mask, other=0.0).to(ACC)
        value = relu(value * scale[None, :] + shift[None, :])
        value = tl.where(mask, value, -1.0)
        is_larger = (value > largest) | (value != value)
        place = tl.where(is_larger, k, place)
        largest = tl.maximum(value, largest, propagate_nan=tl.PropagateNan.ALL)
    offsets = frame * out_height * out_width * channels + p[:, None] * channels + c[None, :]
    tl.store(out + offsets, largest.to(out.dtype.element_ty), mask=written)
    if KEEPS_PLACES:
        tl.store(places + offsets, place.to(tl.uint8), mask=written)


@triton.jit
def pool_gradient(
    grad,
    places,
    d_maps,
    height,
    width,
    out_height,
    out_width,
    channels,
    ACC: tl.constexpr,
    BLOCK_PLACES: tl.constexpr,
    BLOCK_CHANNELS: tl.constexpr,
):
    """Gather the gradient of the maps that :func:`norm_relu_pool` pooled."""
    frame = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * BLOCK_PLACES + tl.arange(0, BLOCK_PLACES)
    row = p // width
    column = p % width
    c = tl.program_id(2) * BLOCK_CHANNELS + tl.arange(0, BLOCK_CHANNELS)
    written = (p < height * width)[:, None] & (c < channels)[None, :]
    pooled = frame * out_height * out_width * channels
    total = tl.zeros((BLOCK_PLACES, BLOCK_CHANNELS), ACC)
    for k in tl.static_range(9):
        # The place is the k-th of the window around (2 * out_y, 2 * out_x).
        y = row + (1 - k // 3)
        x = column + (1 - k % 3)
        seen = (y >= 0) & (y % 2 == 0) & (y // 2 < out_height)
        seen = seen & (x >= 0) & (x % 2 == 0) & (x // 2 < out_width)
        mask = seen[:, None] & written
        offsets = pooled + (y // 2 * out_width + x // 2)[:, None] * channels + c[None, :]
        chosen = tl.load(places + offsets, mask=mask, other=255).to(tl.int32) == k
        value = tl.load(grad + offsets, mask=mask, other=0.0).to(ACC)
        total += tl.where(chosen, value, 0.0)
    offsets = frame * height * width * channels + p[:, None] * channels + c[None, :]
    tl.store(d_maps + offsets, total.to(d_maps.dtype.element_ty), mask=written)
