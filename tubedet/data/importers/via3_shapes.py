"""Enclosing boxes of the shapes that VIA 3 can draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .json_file import Entry

Box = tuple[float, float, float, float]


def enclosing_box(shape: Entry) -> tuple[str, Box]:
    """Return the kind of a shape, and the smallest upright box around it.

    Args:
        shape: number of the kind, then coordinates in pixels.

    Returns:
        name of the kind; x1, y1, x2, y2, without an area for a point.

    Raises:
        AnnotationError: if it is no shape.
    """
    kind, *numbers = shape.numbers(len(shape.items())) or (0,)
    name, fits, read = _KINDS.get(kind, ("", lambda _: False, _points))
    if not fits(len(numbers)):
        raise shape.error(
            f"is {str(shape.value)[:80]}, expected the number of a shape and its points"
        )
    return name, read(numbers)


def _rectangle(numbers: Sequence[float]) -> Box:
    x, y, width, height = numbers  # the sides are negative if a corner was dragged over another
    return min(x, x + width), min(y, y + height), max(x, x + width), max(y, y + height)


def _ellipse(numbers: Sequence[float]) -> Box:
    x, y, *radii = map(float, numbers)
    rx, ry = abs(radii[0]), abs(radii[-1])
    return x - rx, y - ry, x + rx, y + ry


def _points(numbers: Sequence[float]) -> Box:
    x, y = numbers[::2], numbers[1::2]
    return min(x), min(y), max(x), max(y)


def _circle_through(numbers: Sequence[float]) -> Box:
    """Box of the circle through three points; without an area if they are on a line."""
    ax, ay, bx, by, cx, cy = numbers
    bx, by, cx, cy = bx - ax, by - ay, cx - ax, cy - ay
    area = 2 * (bx * cy - by * cx)
    if not area:
        return ax, ay, ax, ay
    b, c = bx * bx + by * by, cx * cx + cy * cy
    x, y = (cy * b - by * c) / area, (bx * c - cx * b) / area
    radius = math.hypot(x, y)
    return ax + x - radius, ay + y - radius, ax + x + radius, ay + y + radius


def _are(count: int) -> Callable[[int], bool]:
    return lambda n: n == count


def _are_points(n: int) -> bool:
    return n >= 2 and n % 2 == 0


_KINDS: dict[float, tuple[str, Callable[[int], bool], Callable[[Sequence[float]], Box]]] = {
    1: ("point", _are(2), _points),
    2: ("rectangle", _are(4), _rectangle),
    3: ("circle", _are(3), _ellipse),
    4: ("ellipse", _are(4), _ellipse),
    5: ("line", _are(4), _points),
    6: ("polyline", _are_points, _points),
    7: ("polygon", _are_points, _points),
    8: ("rectangle of its extreme points", _are_points, _points),
    9: ("circle of three points", _are(6), _circle_through),
}
