"""Corners and overlap of boxes in few launches, and without a wait for the GPU."""

import torch


def corners(boxes: torch.Tensor) -> torch.Tensor:
    """Turn (..., 4) cxcywh into XYXY.

    Values and gradients are those of :func:`torchvision.ops.box_convert`, which launches more.

    Args:
        boxes: cxcywh in any unit.
    """
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def generalized_iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Generalised intersection over union, box by box.

    Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019
    (https://arxiv.org/abs/1902.09630). Values and gradients are those of
    :func:`torchvision.ops.generalized_box_iou_loss` with ``eps=0``, subtracted from one. That
    function selects overlapping boxes by a mask, for whose size the host waits for the GPU, forward
    and backward.

    Args:
        a: (..., 4), XYXY.
        b: likewise; the leading sides of both are broadcast.

    Returns:
        (...), from -1 to 1; NaN for two boxes without an area at the same place.
    """
    a_low, a_high, b_low, b_high = a[..., :2], a[..., 2:], b[..., :2], b[..., 2:]
    intersection = _product((torch.min(a_high, b_high) - torch.max(a_low, b_low)).relu())
    union = _product(a_high - a_low) + _product(b_high - b_low) - intersection
    hull = _product(torch.max(a_high, b_high) - torch.min(a_low, b_low))
    return intersection / union - (hull - union) / hull


def _product(sides: torch.Tensor) -> torch.Tensor:
    """(..., 2) widths and heights -> (...) areas."""
    width, height = sides.unbind(-1)
    return width * height
