"""The augmentation of clips in PyTorch, on whatever device they are."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.data import transforms as T

from .augmentation import HSVShiftTransform

# What can wait until a clip is on the device of the model.
DEFERRABLE = (T.CropTransform, T.HFlipTransform, HSVShiftTransform)


def finish_clips(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Carry out what :class:`~tubedet.data.ClipDatasetMapper` left for the device.

    Args:
        batch: inputs with ``frames``, uint8 (T, H, W, 3), and ``deferred``, transforms; others stay
            as they are.

    Returns:
        inputs with ``clip`` instead, uint8 (3, T, H, W), on the device of the frames.
    """
    return [_finished(item) if "frames" in item else item for item in batch]


def _finished(item: dict[str, Any]) -> dict[str, Any]:
    left = {key: value for key, value in item.items() if key not in ("frames", "deferred")}
    return {**left, "clip": apply_transforms(item["frames"], item["deferred"])}


def apply_transforms(frames: torch.Tensor, transforms: Sequence[T.Transform]) -> torch.Tensor:
    """Apply transforms to all frames of a clip, as their ``apply_image`` does.

    Args:
        frames: uint8 (T, H, W, 3), RGB.
        transforms: of :data:`DEFERRABLE`.

    Returns:
        uint8 (3, T, H, W), contiguous. Shifted colours may differ by 1 from those of OpenCV, which
        the CPU takes; everything else is equal.

    Raises:
        TypeError: for another transform.
    """
    clip = frames.permute(3, 0, 1, 2)
    for transform in transforms:
        if isinstance(transform, T.CropTransform):
            bottom, right = transform.y0 + transform.h, transform.x0 + transform.w
            clip = clip[..., transform.y0 : bottom, transform.x0 : right]
        elif isinstance(transform, T.HFlipTransform):
            clip = clip.flip(-1)
        elif isinstance(transform, HSVShiftTransform):
            clip = shift_hsv(clip, transform.hue, transform.saturation, transform.value)
        else:
            raise TypeError(f"{type(transform).__name__} is not known on devices")
    return clip.contiguous()


def shift_hsv(clip: torch.Tensor, hue: int, saturation: int, value: int) -> torch.Tensor:
    """Add constants to hue, saturation and value, in OpenCV's arithmetic of 8 bits.

    Args:
        clip: uint8 (3, ...), RGB.
        hue: in units of 2 degrees, wraps around at 180.
        saturation, value: in 0..255 units, clipped.

    Returns:
        uint8 of the same shape, RGB.
    """
    rgb = clip.int()
    red, green, blue = rgb
    brightest = rgb.amax(0)
    spread = brightest - rgb.amin(0)
    of_spread, of_brightest = _reciprocals(clip.device)
    # OpenCV divides by multiplying with numbers of 12 binary places.
    sector = torch.where(
        brightest == red,
        green - blue,
        torch.where(brightest == green, blue - red + 2 * spread, red - green + 4 * spread),
    )
    new_hue = ((sector * _look_up(of_spread, spread) + 2048 >> 12) + hue).remainder_(180)
    new_saturation = (spread * _look_up(of_brightest, brightest) + 2048 >> 12) + saturation
    new_saturation = new_saturation.clamp_(0, 255) * (1 / 255)
    new_value = (brightest + value).clamp_(0, 255)
    # Red, green and blue fall to their lowest within 2 of the 6 sectors of hue, 60 degrees each.
    offsets = torch.arange(5, 0, -2, device=clip.device).view(-1, *[1] * new_hue.dim())
    position = (new_hue * (6 / 180) + offsets).remainder_(6)
    fall = torch.minimum(position, 4 - position).clamp_(0, 1)
    # Where the pixels of OpenCV go through vector units, they are cut off and not rounded.
    return fall.mul_(-new_saturation).add_(1).mul_(new_value).to(torch.uint8)


@functools.lru_cache(maxsize=8)
def _reciprocals(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """OpenCV's tables for hue and saturation: int32 (256,), with 12 binary places."""
    numbers = torch.arange(256, dtype=torch.float64, device=device)
    of_spread, of_brightest = ((units * 4096 / numbers).round() for units in (180 / 6, 255))
    return of_spread.nan_to_num(posinf=0).int(), of_brightest.nan_to_num(posinf=0).int()


def _look_up(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return table.index_select(0, index.flatten()).view(index.shape)
