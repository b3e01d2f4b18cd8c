"""Weights of places, drawn as heat over a frame."""

from __future__ import annotations

import colorsys

import numpy as np

# Of the colour where the weight is largest.
_LARGEST_SHARE = 0.75


def blend_heat(
    frame_rgb: np.ndarray, weights: np.ndarray, colour: tuple[float, float, float]
) -> np.ndarray:
    """Colour a frame the more the larger the weight of a place is.

    Args:
        frame_rgb: uint8 (H, W, 3), RGB.
        weights: (H, W), from 0 on; the largest one counts as full heat. Without any the frame
            stays as it is.
        colour: RGB in 0..1.

    Returns:
        uint8 (H, W, 3), a new picture.
    """
    largest = float(weights.max(initial=0))
    if largest <= 0:
        return frame_rgb.copy()
    share = (_LARGEST_SHARE / largest * weights)[..., None].astype(np.float32)
    heat = 255 * np.array(colour, np.float32)
    return np.round(frame_rgb * (1 - share) + heat * share).astype(np.uint8)


def heat_colour(number: int) -> tuple[float, float, float]:
    """Return the colour of an explained action: full RGB (0..1), red for the first one.

    Args:
        number: of the action, from 0.
    """
    return colorsys.hsv_to_rgb(0.382 * number % 1.0, 1.0, 1.0)
