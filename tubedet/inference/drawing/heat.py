"""Weights of places, drawn as heat over a frame."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

# Of the colour where the weight is largest.
_LARGEST_SHARE = 0.75


def blend_heat(
    frame_rgb: np.ndarray,
    maps: Sequence[np.ndarray],
    colours: Sequence[tuple[float, float, float]],
) -> np.ndarray:
    """Colour a frame the more the larger the weights of a place are.

    Args:
        frame_rgb: uint8 (H, W, 3), RGB.
        maps: weights (H, W) from 0 on; the largest one of each map counts as full heat. A map
            without any is not drawn. Where two of them are, their colours mix.
        colours: of the maps, RGB in 0..1.

    Returns:
        uint8 (H, W, 3), a new picture.
    """
    total = np.zeros(frame_rgb.shape[:2], np.float32)
    strongest, mixed = total.copy(), np.zeros(frame_rgb.shape, np.float32)
    for weights, colour in zip(maps, colours, strict=True):
        largest = float(weights.max(initial=0))
        if largest > 0:
            share = (weights / largest).astype(np.float32)
            np.maximum(strongest, share, out=strongest)
            total += share
            mixed += 255 * share[..., None] * np.array(colour, np.float32)
    mixed /= np.maximum(total, 1e-6)[..., None]
    share = _LARGEST_SHARE * strongest[..., None]
    return np.round(frame_rgb * (1 - share) + mixed * share).astype(np.uint8)


def heat_colour(number: int) -> tuple[float, float, float]:
    """Return the colour of an explained action: bright RGB (0..1), red for the first one.

    Args:
        number: of the action, from 0.
    """
    return colorsys.hsv_to_rgb(0.382 * number % 1.0, 0.85, 1.0)
