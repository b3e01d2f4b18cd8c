"""Arithmetic of given person boxes: limits of the frame, extension and jitter.

Two ways to count pixels are in use. In the older one, of AlphAction and of what follows it
(https://github.com/MVIG-SJTU/AlphAction), ``x2`` and ``y2`` name the last pixel within a box: a box
is one pixel wider than ``x2 - x1``, and the last place in a frame of W pixels is W - 1. In the
other one they are where the box ends: nothing is added, and the last place is W. ``pixel`` says
which: 1 or 0.

All boxes here are float (n, 4), XYXY in pixels of a clip, and results are new tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def clip_to_frame(boxes: torch.Tensor, size: tuple[int, int], pixel: float) -> torch.Tensor:
    """Cut boxes at the borders of a frame.

    Args:
        boxes: (n, 4).
        size: (height, width) of the frame without padding, pixels.
        pixel: see above; may be a fraction where the clip is smaller than the stored video.
    """
    x1, y1, x2, y2 = boxes.unbind(1)
    # As tensors, because an exporter knows no bounds that depend on the size of its clips.
    bottom, right = (boxes.new_full((), side - pixel) for side in size)
    lines = ((x1, right), (y1, bottom), (x2, right), (y2, bottom))
    return torch.stack([torch.minimum(x.clamp(min=0), last) for x, last in lines], 1)


def extend_boxes(
    boxes: torch.Tensor, shares: Sequence[float], size: tuple[int, int], pixel: float
) -> torch.Tensor:
    """Make boxes larger about their centres, within the frame.

    Args:
        boxes: (n, 4).
        shares: of the width and of the height that are added, half on each side.
        size: (height, width) of the frame without padding, pixels.
        pixel: see above.
    """
    x1, y1, x2, y2 = boxes.unbind(1)
    margin_x = (x2 - x1 + pixel) * (shares[0] * 0.5)
    margin_y = (y2 - y1 + pixel) * (shares[1] * 0.5)
    extended = torch.stack((x1 - margin_x, y1 - margin_y, x2 + margin_x, y2 + margin_y), 1)
    return clip_to_frame(extended, size, pixel)


def jitter_boxes(
    boxes: torch.Tensor,
    uniform: torch.Tensor,
    outward: Sequence[float],
    inward: Sequence[float],
    size: tuple[int, int],
    pixel: float,
) -> torch.Tensor:
    """Move every side of every box at random, within the frame; a box keeps a pixel at least.

    Args:
        boxes: (n, 4).
        uniform: (4, n) numbers from 0 to 1 for x1, y1, x2 and y2.
        outward: the largest shares of the width and of the height by which a side moves outward.
        inward: likewise, inward.
        size: (height, width) of the frame without padding, pixels.
        pixel: see above.
    """
    x1, y1, x2, y2 = boxes.unbind(1)
    sides_x, sides_y = x2 - x1 + pixel, y2 - y1 + pixel
    (out_x, out_y), (in_x, in_y) = outward, inward
    x1 = x1 + sides_x * (-out_x + (in_x + out_x) * uniform[0])
    y1 = y1 + sides_y * (-out_y + (in_y + out_y) * uniform[1])
    x2 = x2 + sides_x * (-in_x + (in_x + out_x) * uniform[2])
    y2 = y2 + sides_y * (-in_y + (in_y + out_y) * uniform[3])
    height, width = size
    right, bottom = width - pixel, height - pixel
    x1, y1 = x1.clamp(0, right - 1), y1.clamp(0, bottom - 1)
    x2 = torch.maximum(x2.clamp(max=right), x1 + 1)
    y2 = torch.maximum(y2.clamp(max=bottom), y1 + 1)
    return clip_to_frame(torch.stack((x1, y1, x2, y2), 1), size, pixel)
