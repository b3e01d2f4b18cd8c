"""What is left of boxes and tubes in a clip that shows a part of the frame."""

import numpy as np


def keep_visible_boxes(
    boxes: np.ndarray, *, height: int, width: int, min_area: float, min_share: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Clip boxes to the frame and drop those of which hardly anything is left.

    Args:
        boxes: (N, 4) float, XYXY in pixels.
        height, width: size of the frame, pixels.
        min_area: a box survives if its clipped area is larger, square pixels (published: 30).
        min_share: and if that is at least this share of its whole area.

    Returns:
        The M surviving boxes (M, 4), clipped, and the bool mask (N,) of the survivors.
    """
    clipped, visible = _clip_boxes(boxes, height, width, min_area, min_share)
    return clipped[visible], visible


def clip_tubes(
    tubes: np.ndarray, *, height: int, width: int, min_area: float, min_share: float = 0.0
) -> np.ndarray:
    """Clip the boxes of tubes to the frame and blank those of which hardly anything is left.

    Args:
        tubes: (N, T, 4) float, XYXY in pixels, NaN where a frame has no box.
        height, width: size of the frames, pixels.
        min_area: see :func:`keep_visible_boxes`.
        min_share: likewise.

    Returns:
        The clipped tubes (N, T, 4); blanked boxes are NaN.
    """
    clipped, visible = _clip_boxes(tubes, height, width, min_area, min_share)
    clipped[~visible] = np.nan
    return clipped


def _clip_boxes(
    boxes: np.ndarray, height: int, width: int, min_area: float, min_share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (..., 4) clipped to the frame, and bool (...), which are still large enough."""
    clipped = np.clip(boxes, 0, (width, height, width, height))
    sides = clipped[..., 2:] - clipped[..., :2]
    area = sides.prod(axis=-1)
    whole_area = (boxes[..., 2:] - boxes[..., :2]).prod(axis=-1)
    is_large = (area > min_area) & (area >= min_share * whole_area)
    return clipped, (sides > 0).all(axis=-1) & is_large
