"""detectron2's drawing canvas as a transparent layer that is reused from frame to frame."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import cv2
import numpy as np
from detectron2.utils.visualizer import VisImage, Visualizer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_GROUND_ALPHA = 0.65  # of the dark ground below text
_MARGIN = 3  # pixels around the text of a label
_LINE_HEIGHT, _DESCENT = 1.25, 0.28  # of a line of text, in font sizes; below its base line
_MAX_LINES = 256  # lines of text that are kept for other frames


class OverlayImage(VisImage):
    """A ``VisImage`` whose drawing is blended over the frame outside of matplotlib.

    Setting up a figure and resampling the frame in it takes most of the time of a ``VisImage``;
    here the figure is made once for frames of one size and holds nothing but boxes. Text, the next
    slowest, comes as finished pictures.

    Args:
        img: uint8 array (H, W, 3), RGB.
    """

    def __init__(self, img: np.ndarray):
        self._pasted: list[tuple[np.ndarray, int, int]] = []
        super().__init__(img)

    def reset_image(self, img: np.ndarray) -> None:
        """Remove all drawing and puts another frame below it.

        Args:
            img: uint8 array (H, W, 3), RGB, of the same size as before.
        """
        self.img = img
        self._pasted.clear()
        for artist in [*self.ax.patches, *self.ax.texts]:
            artist.remove()
        self.ax.set_xlim(0, self.width)
        self.ax.set_ylim(self.height, 0)

    def paste(self, picture: np.ndarray, x: int, y: int) -> None:
        """Put a picture over the drawing.

        Args:
            picture: uint8 array (h, w, 4), RGBA.
            x, y: where its upper left corner comes, pixels; it must lie inside of the frame.
        """
        self._pasted.append((picture, x, y))

    def get_image(self) -> np.ndarray:
        """Return the frame with the drawing: a new uint8 array (H, W, 3), RGB."""
        image = self.img.copy(order="C")
        self.canvas.draw()
        layer = np.asarray(self.canvas.buffer_rgba()).reshape(-1, 4)
        pixels = np.flatnonzero(np.ascontiguousarray(layer[:, 3]))
        below = image.reshape(-1, 3)
        below[pixels] = _blended(layer[pixels], below[pixels])
        for picture, x, y in self._pasted:
            below = image[y : y + picture.shape[0], x : x + picture.shape[1]]
            below[:] = _blended(picture, below)
        return image


class OverlayVisualizer(Visualizer):
    """A ``Visualizer`` that draws on an :class:`OverlayImage`, with labels of several lines.

    ``output.reset_image(frame)`` makes it ready for the next frame of the same size.

    Args:
        frame_rgb: uint8 array (H, W, 3), RGB.
    """

    def __init__(self, frame_rgb: np.ndarray):
        super().__init__(frame_rgb)
        self.output = OverlayImage(self.img)
        # Most lines come again in the next frames, and to draw one takes milliseconds.
        self._line_mask = functools.lru_cache(maxsize=_MAX_LINES)(self._draw_line)

    def draw_label(
        self,
        lines: Sequence[str],
        box: np.ndarray,
        colour: tuple[float, float, float],
        *,
        avoid: Sequence[np.ndarray] = (),
    ) -> np.ndarray:
        """Write lines of text above a box, or where there is room, always inside of the frame.

        Args:
            lines: the text.
            box: XYXY in pixels.
            colour: of the text, RGB in 0..1.
            avoid: XYXY of labels that should not be covered.

        Returns:
            XYXY of the label in pixels, float array (4,).
        """
        picture = self._label_picture(lines, colour)
        size = np.array(picture.shape[1::-1])
        limits = np.array([self.output.width, self.output.height])
        x1, y1, x2, y2 = np.round(box)
        # Above, inside at the top, below, to the right, to the left.
        corners = np.array([(x1, y1 - size[1]), (x1, y1), (x1, y2), (x2, y1), (x1 - size[0], y1)])
        inside = np.clip(corners, 0, limits - size)
        labels = np.concatenate([inside, inside + size], axis=1)
        moved = np.abs(corners - inside).sum(axis=1)
        covered = sum((_overlap(labels, other) for other in avoid), np.zeros(len(labels)))
        # The first place that is free of other labels and needs no shift in height.
        best = labels[np.lexsort((np.arange(len(labels)), moved > size[1] / 2, covered > 0))[0]]
        self.output.paste(picture, int(best[0]), int(best[1]))
        return best

    def _label_picture(
        self, lines: Sequence[str], colour: tuple[float, float, float]
    ) -> np.ndarray:
        """Lines on a dark ground: uint8 (h, w, 4), RGBA, at most as large as the frame."""
        masks = [self._line_mask(line) for line in lines]
        height, width = sum(len(mask) for mask in masks), max(mask.shape[1] for mask in masks)
        text = np.zeros((height + 2 * _MARGIN, width + 2 * _MARGIN), np.float32)
        y = _MARGIN
        for mask in masks:
            text[y : y + len(mask), _MARGIN : _MARGIN + mask.shape[1]] = mask / 255
            y += len(mask)
        factor = min(self.output.height / text.shape[0], self.output.width / text.shape[1])
        if factor < 1:
            size = [max(1, int(factor * length)) for length in text.shape[::-1]]
            text = cv2.resize(text, size, interpolation=cv2.INTER_AREA)
        alpha = text + _GROUND_ALPHA * (1 - text)
        rgb = (text / alpha)[..., None] * np.array(colour, np.float32)
        return np.round(255 * np.concatenate([rgb, alpha[..., None]], axis=2)).astype(np.uint8)

    def _draw_line(self, line: str) -> np.ndarray:
        """How much of each pixel a line of text covers: uint8 (h, w)."""
        size, dpi = self._default_font_size * self.output.scale, self.output.dpi
        pixels = size * dpi / 72
        figure = Figure(dpi=dpi, frameon=False)
        canvas = FigureCanvasAgg(figure)
        text = figure.text(0, 0, line, size=size, family="sans-serif", color="white")
        text.set_parse_math(False)
        width = math.ceil(text.get_window_extent(canvas.get_renderer()).width) + 1
        # A bit more, because matplotlib cuts off decimals.
        figure.set_size_inches((width + 0.01) / dpi, (round(_LINE_HEIGHT * pixels) + 0.01) / dpi)
        text.set_position((0, _DESCENT / _LINE_HEIGHT))
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., 3].copy()


def _blended(picture: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return a uint8 RGBA picture (..., 4) over an RGB one (..., 3): uint8 (..., 3)."""
    alpha = picture[..., 3:].astype(np.uint16)
    return ((picture[..., :3] * alpha + below * (255 - alpha) + 127) // 255).astype(np.uint8)


def _overlap(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Area which each of (N, 4) boxes has in common with another one, (N,)."""
    low = np.maximum(boxes[:, :2], other[:2])
    high = np.minimum(boxes[:, 2:], other[2:])
    return np.clip(high - low, 0, None).prod(axis=1)
