"""Boxes, lines and labels over a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from .label_placement import leader, place_label
from .text_contrast import Colour
from .text_pictures import TextPictures, write_text

_GREEN = (0.0, 0.5, 0.0)  # detectron2's default


def text_pixels(height: int, width: int) -> int:
    """Return the size of the font for frames of a size: 13 pixels at 480p, 24 at 1080p, 48 at 4K.

    Args:
        height: of the frame, pixels.
        width: likewise.
    """
    return max(13, round(min(height, width) / 45))


def line_width(height: int, width: int) -> int:
    """Return the width of lines for frames of a size: 2 pixels at 480p, 4 at 1080p, 7 at 4K.

    Args:
        height: of the frame, pixels.
        width: likewise.
    """
    return max(2, round(min(height, width) / 300))


class OverlayImage:
    """A frame and what is to be drawn over it: lines first, labels over them.

    Args:
        img: uint8 array (H, W, 3), RGB.
    """

    def __init__(self, img: np.ndarray):
        self.height, self.width = img.shape[:2]
        self.reset_image(img)

    def reset_image(self, img: np.ndarray) -> None:
        """Remove all drawing and put another frame below it.

        Args:
            img: uint8 array (H, W, 3), RGB, of the same size as before.
        """
        self.img = img
        self._strokes: list[Callable[[np.ndarray], None]] = []
        self._labels: list[tuple[np.ndarray, Colour, int, int]] = []

    def stroke(self, draw: Callable[[np.ndarray], None]) -> None:
        """Draw something over the frame and earlier strokes, below the labels.

        Args:
            draw: changes the array (H, W, 3) that it is given.
        """
        self._strokes.append(draw)

    def write(self, mask: np.ndarray, colour: Colour, x: int, y: int) -> None:
        """Put a label over the drawing.

        Args:
            mask: uint8 array (h, w), how much of each pixel its text covers.
            colour: of the text, RGB in 0..1.
            x, y: where its upper left corner comes, pixels; it must lie inside of the frame.
        """
        self._labels.append((mask, colour, x, y))

    def get_image(self) -> np.ndarray:
        """Return the frame with the drawing: a new uint8 array (H, W, 3), RGB."""
        image = self.img.copy(order="C")
        for draw in self._strokes:
            draw(image)
        for mask, colour, x, y in self._labels:
            write_text(image[y : y + mask.shape[0], x : x + mask.shape[1]], mask, colour)
        return image


class OverlayVisualizer:
    """Draws boxes, paths and labels of several lines; sizes follow that of the frame.

    The calls are those of detectron2's ``Visualizer``, with whose matplotlib canvas a frame of
    1080p took five times as long. ``output.reset_image(frame)`` makes it ready for the next frame
    of the same size.

    Args:
        frame_rgb: uint8 array (H, W, 3), RGB.
        font_pixels: size of the font; None: that for frames of this size.
    """

    def __init__(self, frame_rgb: np.ndarray, *, font_pixels: int | None = None):
        self.output = OverlayImage(frame_rgb)
        self.line_width = line_width(*frame_rgb.shape[:2])
        self._text = TextPictures(font_pixels or text_pixels(*frame_rgb.shape[:2]))

    def draw_box(
        self, box: Sequence[float] | np.ndarray, *, alpha: float = 0.9, edge_color: Colour = _GREEN
    ) -> None:
        """Draw the outline of a box.

        Args:
            box: XYXY in pixels.
            alpha: of the line.
            edge_color: RGB in 0..1.
        """
        width = self.line_width
        # The line lies in the middle of the edge, as matplotlib draws it.
        x1, y1, x2, y2 = (int(np.floor(value + 0.5)) - width // 2 for value in box)
        colour = 255 * alpha * np.array(edge_color, np.float32)

        def draw(image: np.ndarray) -> None:
            for top, bottom, left, right in (
                (y1, y1 + width, x1, x2 + width),
                (y2, y2 + width, x1, x2 + width),
                (y1 + width, y2, x1, x1 + width),
                (y1 + width, y2, x2, x2 + width),
            ):
                part = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
                part[:] = np.round(part * np.float32(1 - alpha) + colour)

        self.output.stroke(draw)

    def draw_path(self, points: np.ndarray, colour: Colour) -> None:
        """Draw a line through points that gets wider to its end.

        Args:
            points: (n, 2) x, y in pixels.
            colour: RGB in 0..1.
        """
        shade = [round(255 * channel) for channel in colour]
        ends = np.round(points).astype(int)
        widths = np.ceil(np.linspace(0, self.line_width, len(ends))[1:]).astype(int)

        def draw(image: np.ndarray) -> None:
            for start, end, width in zip(ends[:-1].tolist(), ends[1:].tolist(), widths.tolist()):
                cv2.line(image, start, end, shade, width, cv2.LINE_AA)

        self.output.stroke(draw)

    def draw_label(
        self,
        lines: Sequence[str],
        box: np.ndarray,
        colour: Colour,
        *,
        avoid: Sequence[np.ndarray] = (),
        others: Sequence[np.ndarray] = (),
        last: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> np.ndarray:
        """Write lines of text near a box, always inside of the frame.

        See :func:`.place_label` for where. A line leads from a label that does not touch its box.

        Args:
            lines: the text.
            box: XYXY in pixels.
            colour: of the text, RGB in 0..1.
            avoid: XYXY of labels that must not be covered, where there is room.
            others: XYXY of boxes that should not be covered.
            last: this label and its box on the last frame, XYXY.

        Returns:
            XYXY of the label in pixels, float array (4,).
        """
        frame_size = (self.output.width, self.output.height)
        mask = self._text.mask(lines, frame_size)
        label = place_label(
            *(mask.shape[::-1], box, frame_size),
            labels=avoid,
            others=others,
            last=last,
        )
        if (ends := leader(label, box, self.line_width)) is not None:
            self._draw_leader(*ends, colour)
        self.output.write(mask, colour, int(label[0]), int(label[1]))
        return label

    def _draw_leader(self, start: np.ndarray, end: np.ndarray, colour: Colour) -> None:
        """Draw a line with dark edges, to be seen on every ground."""
        first, last = (np.round(point).astype(int).tolist() for point in (start, end))
        shade = [round(255 * channel) for channel in colour]
        width = max(1, self.line_width // 2)

        def draw(image: np.ndarray) -> None:
            cv2.line(image, first, last, (0, 0, 0), width + 2, cv2.LINE_AA)
            cv2.line(image, first, last, shade, width, cv2.LINE_AA)

        self.output.stroke(draw)
