"""Boxes as the queries of STMixer hold them.

The state of a box is (x, y, z, r): the centre in pixels of the clip, z = log2 of the root of the
area, and r = log2 of height / width. It is float32 at least: 2^z of half precision overflows.
"""

import torch

from tubedet.layers import sine_encoding

# Centres count in thousands of pixels in the position code.
_CODE_PIXELS = 1000.0
# Area in square pixels below which no share is computed, and share below which no logarithm is.
_LEAST_AREA, _LEAST_SHARE = 1e-6, 1e-7


def whole_clips(sides: torch.Tensor) -> torch.Tensor:
    """Return the states (..., 4) of boxes as large as their clips.

    Args:
        sides: (..., 2), width and height in pixels.
    """
    width, height = sides.unbind(-1)
    centre = sides / 2
    size = torch.stack((torch.log2(width * height) / 2, torch.log2(height / width)), dim=-1)
    return torch.cat((centre, size), dim=-1)


def box_sides(state: torch.Tensor) -> torch.Tensor:
    """Return width and height (..., 2) in pixels of boxes (..., 4)."""
    z, half = state[..., 2], state[..., 3] / 2
    return torch.exp2(torch.stack((z - half, z + half), dim=-1))


def box_corners(state: torch.Tensor) -> torch.Tensor:
    """Return boxes (..., 4) as XYXY pixels."""
    centre, half = state[..., :2], box_sides(state) / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def box_fractions(state: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
    """Return boxes (..., 4) as cxcywh in fractions of clips with these sides (..., 2)."""
    return torch.cat((state[..., :2] / sides, box_sides(state) / sides), dim=-1)


def refine_state(state: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """Move boxes by parts of their size, and change the logarithms.

    Gradients reach both arguments, so that losses of later stages train the earlier ones too.

    Args:
        state: (..., 4).
        delta: likewise; the centre moves by the first two numbers times 2^z.
    """
    centre = state[..., :2] + delta[..., :2] * torch.exp2(state[..., 2:3])
    return torch.cat((centre, state[..., 2:] + delta[..., 2:]), dim=-1)


def position_code(state: torch.Tensor, channels: int) -> torch.Tensor:
    """Return sines and cosines (..., C) of boxes (..., 4), a quarter of the channels each number.

    Args:
        state: without a gradient.
        channels: C, a multiple of 8.
    """
    numbers = torch.cat((state[..., :2] / _CODE_PIXELS, state[..., 2:]), dim=-1)
    return sine_encoding(numbers, channels // 4).flatten(-2)


def covered_shares(boxes: torch.Tensor) -> torch.Tensor:
    """Return which share of the area of each box i every box j covers: (B, N, N), row i.

    Args:
        boxes: (B, N, 4), XYXY.
    """
    low, high = boxes[..., :2], boxes[..., 2:]
    shared_low = torch.maximum(low[:, :, None], low[:, None])
    shared_high = torch.minimum(high[:, :, None], high[:, None])
    shared = (shared_high - shared_low).relu().prod(-1)
    area = (high - low).prod(-1).clamp(min=_LEAST_AREA)
    return shared / area[:, :, None]


def overlap_bias(state: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """Return what is added to the scores of attention: little for boxes that do not overlap.

    Args:
        state: (B, N, 4), without a gradient.
        strength: (heads,), learned.

    Returns:
        (B, heads, N, N), at most about 0.
    """
    shares = covered_shares(box_corners(state))
    return (shares + _LEAST_SHARE).log()[:, None] * strength[:, None, None]
