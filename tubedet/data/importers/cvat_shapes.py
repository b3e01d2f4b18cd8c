"""Enclosing boxes of the shapes that CVAT can draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from .labels import Box


def enclosing_box(shape: str, attributes: Mapping[str, str]) -> Box:
    """Return the smallest upright box around a shape; that of a single point has no area.

    Args:
        shape: name of its element, one of :data:`SHAPES`.
        attributes: of the element.

    Returns:
        x1, y1, x2, y2 in pixels.

    Raises:
        ValueError: if an attribute is missing or no number; the message tells which.
    """
    return SHAPES[shape](attributes)


def is_turned(attributes: Mapping[str, str]) -> bool:
    """Tell whether a shape is turned about its middle.

    Args:
        attributes: of its element.
    """
    return _turn(attributes) != 0


def _number(attributes: Mapping[str, str], name: str) -> float:
    try:
        number = float(attributes.get(name, ""))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name}={attributes.get(name)!r}: expected a number")
    return number


def _turn(attributes: Mapping[str, str]) -> float:
    """Angle of a shape about its middle, radians."""
    return math.radians(_number(attributes, "rotation")) if "rotation" in attributes else 0.0


def _rectangle(attributes: Mapping[str, str]) -> Box:
    left, top, right, bottom = (_number(attributes, n) for n in ("xtl", "ytl", "xbr", "ybr"))
    if not (angle := _turn(attributes)):
        return left, top, right, bottom
    cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
    half_width = ((right - left) * cosine + (bottom - top) * sine) / 2
    half_height = ((right - left) * sine + (bottom - top) * cosine) / 2
    return _around((left + right) / 2, (top + bottom) / 2, half_width, half_height)


def _ellipse(attributes: Mapping[str, str]) -> Box:
    x, y, rx, ry = (_number(attributes, name) for name in ("cx", "cy", "rx", "ry"))
    cosine, sine = math.cos(_turn(attributes)), math.sin(_turn(attributes))
    return _around(x, y, math.hypot(rx * cosine, ry * sine), math.hypot(rx * sine, ry * cosine))


def _points(attributes: Mapping[str, str]) -> Box:
    text = attributes.get("points", "")
    try:
        pairs = [tuple(map(float, pair.split(","))) for pair in text.split(";")]
        x, y = zip(*pairs, strict=True)
        box = min(x), min(y), max(x), max(y)
    except ValueError:
        raise ValueError(f"points={text[:80]!r}: expected x,y;x,y;...") from None
    if not all(map(math.isfinite, (*x, *y))):
        raise ValueError(f"points={text[:80]!r}: expected numbers")
    return box


def _mask(attributes: Mapping[str, str]) -> Box:
    left, top, width, height = (_number(attributes, n) for n in ("left", "top", "width", "height"))
    return left, top, left + width, top + height


def _cuboid(attributes: Mapping[str, str]) -> Box:
    # Corners are named by side, height and face: xtl1 is left, top, front.
    corners = [f"{side}{face}" for side in ("tl", "bl", "tr", "br") for face in "12"]
    x = [_number(attributes, f"x{corner}") for corner in corners]
    y = [_number(attributes, f"y{corner}") for corner in corners]
    return min(x), min(y), max(x), max(y)


def _around(x: float, y: float, half_width: float, half_height: float) -> Box:
    # A turn by 90 degrees of floating point leaves traces behind the twelfth digit.
    sides = x - half_width, y - half_height, x + half_width, y + half_height
    left, top, right, bottom = (round(side, 6) for side in sides)
    return left, top, right, bottom


SHAPES: dict[str, Callable[[Mapping[str, str]], Box]] = {
    "box": _rectangle,
    "ellipse": _ellipse,
    "polygon": _points,
    "polyline": _points,
    "points": _points,
    "mask": _mask,
    "cuboid": _cuboid,
}
