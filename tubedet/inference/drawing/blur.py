"""Hiding persons, or the part of them where faces are, behind mosaics."""

from __future__ import annotations

import cv2
import numpy as np

BLURS = ("persons", "faces")
# Cells along the longer side of a mosaic, whatever the size of the person in pixels: a head has one
# or two of a person's, and a face four by four at most.
_CELLS = {"persons": 8, "faces": 4}
# Added to each side of a box, in shares of its width and height.
_MARGIN = 0.15
# Height of the part with the face: of people who stand, this share of the box; of those whose
# upper body alone is seen, whose boxes are wide, a share of the width; never more than that.
_STANDING, _OF_WIDTH, _MOST = 0.3, 0.5, 0.6


def blur_persons(frame_rgb: np.ndarray, boxes: np.ndarray, blur: str) -> np.ndarray:
    """Return a frame on which persons cannot be recognised by sight.

    Every part is replaced by a mosaic of few cells, each the mean of its pixels. That hides faces
    and clothes from people; it is no proof against a computation over many frames.

    Args:
        frame_rgb: uint8 array (H, W, 3), RGB.
        boxes: (N, 4) XYXY of the persons, as fractions of the frame.
        blur: "persons": the boxes, a little enlarged. "faces": their upper parts, as wide as the
            enlarged box. No face is looked for: one that is elsewhere in the box, as of somebody
            who lies or bends down, stays.

    Returns:
        uint8 array (H, W, 3), a new one.
    """
    image = frame_rgb.copy()
    height, width = image.shape[:2]
    for box in np.asarray(boxes, dtype=float) * (width, height, width, height):
        x1, y1, x2, y2 = _hidden_part(box, blur)
        left, right = np.clip([np.floor(x1), np.ceil(x2)], 0, width).astype(int)
        top, bottom = np.clip([np.floor(y1), np.ceil(y2)], 0, height).astype(int)
        if left < right and top < bottom:
            image[top:bottom, left:right] = _mosaic(image[top:bottom, left:right], _CELLS[blur])
    return image


def _hidden_part(box: np.ndarray, blur: str) -> np.ndarray:
    """XYXY of what is hidden of a person's box, in pixels."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    if blur == "faces":
        y2 = y1 + min(max(_STANDING * height, _OF_WIDTH * width), _MOST * height)
    side, top = _MARGIN * width, _MARGIN * height
    return np.array([x1 - side, y1 - top, x2 + side, y2 + (top if blur == "persons" else 0)])


def _mosaic(part: np.ndarray, num_cells: int) -> np.ndarray:
    height, width = part.shape[:2]
    cell = max(height, width) / num_cells
    size = (max(1, round(width / cell)), max(1, round(height / cell)))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
