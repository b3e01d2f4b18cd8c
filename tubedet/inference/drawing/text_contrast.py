"""Contrast of text against the ground below it."""

from __future__ import annotations

import functools

import numpy as np

# What the Web Content Accessibility Guidelines (WCAG 2.1, criterion 1.4.3) ask of text.
LEAST_CONTRAST = 4.5
# Of the dark ground below text; the frame shows through.
GROUND_ALPHA = 0.75
_STEPS = 64  # of white that a colour may get

Colour = tuple[float, float, float]


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast ratio of two colours, from 1 (equal) to 21 (black and white).

    Args:
        one: RGB in 0..1, as stored in pictures (sRGB).
        other: likewise.
    """
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@functools.lru_cache(maxsize=1024)
def readable(colour: Colour) -> Colour:
    """Return a colour with as much white as text in it needs on the dark ground.

    The brightest ground is that over white, so the contrast is at least 4.5 over any frame.

    Args:
        colour: RGB in 0..1.
    """
    brightest = (1 - GROUND_ALPHA,) * 3
    for step in range(_STEPS + 1):
        share = step / _STEPS
        red, green, blue = (channel + share * (1 - channel) for channel in colour)
        if contrast((red, green, blue), brightest) >= LEAST_CONTRAST:
            break
    return red, green, blue


def _luminance(colour: Colour) -> float:
    channels = np.array(colour, dtype=float)
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
