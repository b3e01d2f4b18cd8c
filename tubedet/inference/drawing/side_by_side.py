"""Pictures beside each other, each under its title."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .overlay import OverlayVisualizer, line_width, text_pixels

_DARK = 24  # grey of the ground of titles and of what parts the pictures
_WHITE = (1.0, 1.0, 1.0)


def side_by_side(pictures: Sequence[np.ndarray], titles: Sequence[str]) -> np.ndarray:
    """Put pictures of one size beside each other.

    Args:
        pictures: uint8 arrays (H, W, 3), RGB.
        titles: one per picture.

    Returns:
        uint8 array, RGB, a little higher and wider than the pictures.
    """
    height, width = pictures[0].shape[:2]
    pixels = text_pixels(height, width)
    strip = np.full((2 * pixels, width, 3), _DARK, np.uint8)
    columns = []
    for picture, title in zip(pictures, titles, strict=True):
        canvas = OverlayVisualizer(strip, font_pixels=pixels)
        canvas.draw_label([title], np.array([0.0, 0.0, width, 2.0 * pixels]), _WHITE)
        columns.append(np.concatenate([canvas.output.get_image(), picture]))
    gap = 2 * line_width(height, width)
    parting = np.full((len(columns[0]), gap, 3), _DARK, np.uint8)
    joined = [part for column in columns for part in (parting, column)][1:]
    return np.concatenate(joined, axis=1)
