"""Lines of text in pixels."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .text_contrast import GROUND_ALPHA, Colour, readable

_LINE_HEIGHT, _DESCENT = 1.25, 0.28  # of a line of text, in font sizes; below its base line
_SPACE = 0.32  # between two words, in font sizes
_MAX_WORDS = 2048  # that are kept for other frames
_DPI = 72  # a point is a pixel


class TextPictures:
    """Draws lines of text.

    Args:
        pixels: size of the font.
    """

    def __init__(self, pixels: int):
        self.pixels = pixels
        self.margin = max(3, pixels // 5)  # around the text
        # Words come again in the next frames, numbers sooner or later, and to draw one takes
        # milliseconds.
        self._word_mask = functools.lru_cache(maxsize=_MAX_WORDS)(self._draw_word)

    def mask(self, lines: Sequence[str], max_size: tuple[int, int]) -> np.ndarray:
        """Return how much of each pixel of a label its text covers: uint8 (h, w).

        Args:
            lines: the text, each below the one before.
            max_size: (width, height) into which a larger label is shrunk, pixels.
        """
        masks = [self._line_mask(line) for line in lines]
        height, width = sum(len(mask) for mask in masks), max(mask.shape[1] for mask in masks)
        margin = self.margin
        text = np.zeros((height + 2 * margin, width + 2 * margin), np.uint8)
        y = margin
        for mask in masks:
            text[y : y + len(mask), margin : margin + mask.shape[1]] = mask
            y += len(mask)
        factor = min(max_size[0] / text.shape[1], max_size[1] / text.shape[0])
        if factor < 1:
            size = [max(1, int(factor * length)) for length in text.shape[::-1]]
            text = cv2.resize(text, size, interpolation=cv2.INTER_AREA)
        return text

    def _line_mask(self, line: str) -> np.ndarray:
        """Return how much of each pixel a line of text covers: uint8 (h, w)."""
        words = [self._word_mask(word) for word in line.split(" ")]
        space = np.zeros((words[0].shape[0], round(_SPACE * self.pixels)), np.uint8)
        parts = [part for word in words for part in (space, word)]
        return np.concatenate(parts[1:], axis=1)

    def _draw_word(self, word: str) -> np.ndarray:
        """Return how much of each pixel a word covers: uint8 (h, w)."""
        figure = Figure(dpi=_DPI, frameon=False)
        canvas = FigureCanvasAgg(figure)
        text = figure.text(0, 0, word, size=self.pixels, family="sans-serif", color="white")
        text.set_parse_math(False)
        width = math.ceil(text.get_window_extent(canvas.get_renderer()).width) + 1
        height = round(_LINE_HEIGHT * self.pixels)
        # A bit more, because matplotlib cuts off decimals.
        figure.set_size_inches((width + 0.01) / _DPI, (height + 0.01) / _DPI)
        text.set_position((0, _DESCENT / _LINE_HEIGHT))
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., 3].copy()


def write_text(part: np.ndarray, mask: np.ndarray, colour: Colour) -> None:
    """Darken a part of a picture and write on it.

    Args:
        part: uint8 (h, w, 3), RGB, which is changed.
        mask: of :meth:`TextPictures.mask`, (h, w).
        colour: RGB in 0..1; it gets as much white as the contrast needs.
    """
    ink = np.empty_like(part)
    ink[:] = np.round(255 * np.array(readable(colour)))
    share = cv2.merge([mask] * 3)
    ground = cv2.convertScaleAbs(part, alpha=1 - GROUND_ALPHA)
    ground = cv2.multiply(ground, cv2.bitwise_not(share), scale=1 / 255)
    part[:] = cv2.add(ground, cv2.multiply(ink, share, scale=1 / 255))
