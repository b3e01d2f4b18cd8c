"""Sine position code of space-time feature maps."""

import math

import torch


def _encode_axis(position: torch.Tensor, channels: int, temperature: float) -> torch.Tensor:
    """Positions (...) in radians -> (..., channels): sine on even, cosine on odd channels."""
    index = torch.arange(channels, dtype=torch.float32, device=position.device)
    frequency = temperature ** (2 * torch.div(index, 2, rounding_mode="floor") / channels)
    angle = position[..., None] / frequency
    return torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1).flatten(-2)


def sine_position_encoding_3d(
    mask: torch.Tensor, channels: int, temperature: float = 10000.0
) -> torch.Tensor:
    """Normalised sine code of time, row and column, as in TubeR and DETR.

    A quarter of the channels encodes time and three eighths each the row and the column, in this
    order. A position is the count of valid cells up to the cell, divided by the count of the
    whole line, times 2π; so a clip's code does not depend on the padding of its batch.

    Args:
        mask: bool (B, T, H, W), True on padded cells.
        channels: C, a multiple of 16.

    Returns:
        float32 (B, C, T, H, W), whatever the dtype of the features.

    Raises:
        ValueError: if the channels cannot be split so.
    """
    if channels % 16:
        raise ValueError(f"the position code needs a multiple of 16 channels, not {channels}")
    valid = (~mask).float()
    split = {1: channels // 4, 2: channels // 8 * 3, 3: channels // 8 * 3}
    codes = []
    for axis, axis_channels in split.items():
        count = valid.cumsum(axis)
        total = count.narrow(axis, count.shape[axis] - 1, 1)
        position = count / (total + 1e-6) * (2 * math.pi)
        codes.append(_encode_axis(position, axis_channels, temperature))
    return torch.cat(codes, dim=-1).movedim(-1, 1)
