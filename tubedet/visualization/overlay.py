"""detectron2's drawing canvas as a transparent layer that is reused from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from detectron2.utils.visualizer import VisImage, Visualizer

_LABEL_ALPHA = 0.65
_LABEL_MARGIN = 3.0  # pixels around the text


class OverlayImage(VisImage):
    """A ``VisImage`` whose drawing is blended over the frame outside of matplotlib.

    Setting up a figure and resampling the frame in it takes most of the time of a ``VisImage``;
    here the figure is made once for frames of one size and holds nothing but boxes and text.
    """

    def reset_image(self, img: np.ndarray) -> None:
        """Removes all drawing and puts another frame below it.

        Args:
            img: uint8 array (H, W, 3), RGB, of the same size as before.
        """
        self.img = img
        for artist in [*self.ax.patches, *self.ax.texts]:
            artist.remove()
        self.ax.set_xlim(0, self.width)
        self.ax.set_ylim(self.height, 0)

    def get_image(self) -> np.ndarray:
        """The frame with the drawing: a new uint8 array (H, W, 3), RGB."""
        image = self.img.copy()
        self.canvas.draw()
        layer = np.asarray(self.canvas.buffer_rgba())
        rows, columns = np.nonzero(layer[..., 3])
        drawn = layer[rows, columns].astype(np.uint16)
        alpha = drawn[:, 3:]
        mixed = drawn[:, :3] * alpha + image[rows, columns] * (255 - alpha)
        image[rows, columns] = (mixed + 127) // 255
        return image


class OverlayVisualizer(Visualizer):
    """A ``Visualizer`` that draws on an :class:`OverlayImage`, with labels of several lines.

    ``output.reset_image(frame)`` makes it ready for the next frame of the same size.
    """

    def __init__(self, frame_rgb: np.ndarray):
        """
        Args:
            frame_rgb: uint8 array (H, W, 3), RGB.
        """
        super().__init__(frame_rgb)
        self.output = OverlayImage(self.img)

    def draw_label(
        self,
        lines: Sequence[str],
        box: np.ndarray,
        colour: tuple[float, float, float],
        *,
        avoid: Sequence[np.ndarray] = (),
    ) -> np.ndarray:
        """Writes lines of text above a box, or where there is room, always inside of the frame.

        Args:
            lines: the text.
            box: XYXY in pixels.
            colour: of the text, RGB in 0..1.
            avoid: XYXY of labels that should not be covered.

        Returns:
            XYXY of the label in pixels, float array (4,).
        """
        self.draw_text("\n".join(lines), (0, 0), color=colour, horizontal_alignment="left")
        text = self.output.ax.texts[-1]
        text.get_bbox_patch().set_alpha(_LABEL_ALPHA)
        renderer = self.output.canvas.get_renderer()
        limits = np.array([self.output.width, self.output.height], dtype=float)
        extent = text.get_window_extent(renderer)
        size = np.array([extent.width, extent.height]) + 2 * _LABEL_MARGIN
        if (size > limits).any():
            text.set_fontsize(text.get_fontsize() * (limits / size).min())
            extent = text.get_window_extent(renderer)
            size = np.minimum(np.array([extent.width, extent.height]) + 2 * _LABEL_MARGIN, limits)
        x1, y1, x2, y2 = box
        # Above, inside at the top, below, to the right, to the left.
        corners = np.array([(x1, y1 - size[1]), (x1, y1), (x1, y2), (x2, y1), (x1 - size[0], y1)])
        inside = np.clip(corners, 0, limits - size)
        labels = np.concatenate([inside, inside + size], axis=1)
        moved = np.abs(corners - inside).sum(axis=1)
        covered = sum((_overlap(labels, other) for other in avoid), np.zeros(len(labels)))
        # The first place that is free of other labels and needs no shift in height.
        best = labels[np.lexsort((np.arange(len(labels)), moved > size[1] / 2, covered > 0))[0]]
        text.set_position(best[:2] + _LABEL_MARGIN)
        return best


def _overlap(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Area which each of (N, 4) boxes has in common with another one, (N,)."""
    low = np.maximum(boxes[:, :2], other[:2])
    high = np.minimum(boxes[:, 2:], other[2:])
    return np.clip(high - low, 0, None).prod(axis=1)
