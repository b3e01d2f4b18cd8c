"""Sine position codes of feature maps."""

import math

import torch

from tubedet.errors import UserError


def sine_encoding(
    position: torch.Tensor, channels: int, temperature: float = 10000.0, paired: bool = True
) -> torch.Tensor:
    """Positions (...) in radians -> (..., channels): sine on even, cosine on odd channels.

    Args:
        paired: a sine and the cosine after it have one frequency. Otherwise every channel has its
            own, as in the released class-query models.
    """
    index = torch.arange(channels, dtype=torch.float32, device=position.device)
    if paired:
        index = 2 * torch.div(index, 2, rounding_mode="floor")
    frequency = temperature ** (index / channels)
    angle = position[..., None] / frequency
    return torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1).flatten(-2)


def _encode_cells(
    mask: torch.Tensor,
    split: dict[int, int],
    shift: float,
    temperature: float,
    paired: bool = True,
) -> torch.Tensor:
    """Code of every cell of a masked map, channels second.

    Args:
        mask: bool, batch first, True on padded cells.
        split: channels of each encoded axis, in the order of the code.
        shift: added to the count of valid cells up to the cell, itself included.
        paired: see :func:`sine_encoding`.
    """
    valid = (~mask).float()
    codes = []
    for axis, channels in split.items():
        count = valid.cumsum(axis)
        total = count.narrow(axis, count.shape[axis] - 1, 1)
        position = (count + shift) / (total + 1e-6) * (2 * math.pi)
        codes.append(sine_encoding(position, channels, temperature, paired))
    return torch.cat(codes, dim=-1).movedim(-1, 1)


def sine_position_encoding_2d(
    mask: torch.Tensor, channels: int, temperature: float = 10000.0
) -> torch.Tensor:
    """Normalised sine code of row and column, as in Deformable DETR.

    Half of the channels encodes the row and half the column, in this order. A position is the
    centre of the cell among the valid cells of its line, as a fraction of them, times 2π.

    Args:
        mask: bool (B, H, W), True on padded cells.
        channels: C, a multiple of 4.

    Returns:
        float32 (B, C, H, W), whatever the dtype of the features. Lines without any valid cell
        hold numbers without meaning.

    Raises:
        UserError: if the channels cannot be split so.
    """
    if channels % 4:
        raise UserError(f"the position code needs a multiple of 4 channels, not {channels}")
    return _encode_cells(mask, {1: channels // 2, 2: channels // 2}, -0.5, temperature)


def sine_position_encoding_3d(
    mask: torch.Tensor, channels: int, temperature: float = 10000.0, paired: bool = True
) -> torch.Tensor:
    """Normalised sine code of time, row and column, as in TubeR and DETR.

    A quarter of the channels encodes time and three eighths each the row and the column, in this
    order. A position is the count of valid cells up to the cell, divided by the count of the
    whole line, times 2π; so a clip's code does not depend on the padding of its batch.

    Args:
        mask: bool (B, T, H, W), True on padded cells.
        channels: C, a multiple of 16.
        paired: see :func:`sine_encoding`.

    Returns:
        float32 (B, C, T, H, W), whatever the dtype of the features.

    Raises:
        UserError: if the channels cannot be split so.
    """
    if channels % 16:
        raise UserError(f"the position code needs a multiple of 16 channels, not {channels}")
    split = {1: channels // 4, 2: channels // 8 * 3, 3: channels // 8 * 3}
    return _encode_cells(mask, split, 0.0, temperature, paired)
