"""Where in a frame the actions of persons are looked for."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from detectron2.structures import Instances


def attention_in_frame(instances: Instances, number: int = 0) -> np.ndarray:
    """Return the attention of one explained action in the pixels of the frame.

    The cells of the grid are spread evenly over the frame, and values between their centres are
    interpolated.

    Args:
        instances: with ``action_attention`` (N, n, h, w), as of a detector that explains actions.
        number: which of the n actions.

    Returns:
        float32 (N, H, W), of ``instances.image_size``; a map of the grid adds up to one, apart
        from what lies in the padding of the clip.
    """
    maps = instances.action_attention[:, number].detach().float().cpu()
    frame = np.zeros((len(maps), *instances.image_size), np.float32)
    for row, weights in enumerate(maps):
        frame[row] = resized_attention(weights, *instances.image_size)
    return frame


def resized_attention(weights: torch.Tensor, height: int, width: int) -> np.ndarray:
    """Return a map over a frame in its pixels, float32 (height, width).

    Args:
        weights: (h, w), of cells that are spread evenly over the frame.
        height: of the frame, pixels.
        width: likewise.
    """
    cells = weights.detach().float().cpu().numpy()
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR)
