"""Enclosing boxes of the segmentations of COCO: polygons, and masks as lengths of runs."""

from __future__ import annotations

import math

from .json_file import Entry
from .labels import Box


def segmentation_box(entry: Entry) -> Box | None:
    """Return the smallest upright box around a segmentation.

    Args:
        entry: a list of polygons (x, y, x, y, ...), or an object with the ``size`` of the mask
            (height, width) and the lengths of its runs of 0 and 1, column by column, as ``counts``:
            a list, or the text into which COCO packs it.

    Returns:
        x1, y1, x2, y2 in pixels; None if nothing is there.

    Raises:
        AnnotationError: if it is something else.
    """
    if isinstance(entry.value, dict):
        return _mask_box(entry)
    points: list[float] = []
    for polygon in entry.items():
        if not isinstance(polygon.value, list) or len(polygon.value) % 2:
            raise polygon.error("is no polygon, expected x, y, x, y, ...")
        points += polygon.numbers(len(polygon.value))
    if not points:
        return None
    x, y = points[::2], points[1::2]
    return min(x), min(y), max(x), max(y)


def _mask_box(entry: Entry) -> Box | None:
    height, width = (int(side) for side in entry.child("size").numbers(2))
    counts = entry.child("counts")
    packed = isinstance(counts.value, str)
    lengths = _unpack(counts) if packed else counts.numbers(len(counts.items()))
    if min(height, width) < 1:
        raise entry.error("has no size of a mask")
    if min(lengths, default=0) < 0 or sum(lengths) > height * width:
        raise counts.error(f"have lengths that a mask of {width}x{height} pixels has not")
    place, left, top, right, bottom = 0, math.inf, math.inf, 0, 0
    for i, length in enumerate(map(int, lengths)):
        if i % 2 and length:
            (first_x, first_y), (last_x, last_y) = (
                divmod(pixel, height) for pixel in (place, place + length - 1)
            )
            if last_x > first_x:  # the end of one column and the beginning of the next
                first_y, last_y = 0, height - 1
            left, right = min(left, first_x), max(right, last_x + 1)
            top, bottom = min(top, first_y), max(bottom, last_y + 1)
        place += length
    return (left, top, right, bottom) if right else None


def _unpack(counts: Entry) -> list[int]:
    """Lengths from the text of COCO: five bits a character, from the third on as differences."""
    lengths: list[int] = []
    number = bits = 0
    for character in counts.value:
        value = ord(character) - 48
        if not 0 <= value < 64 or bits > 60:
            raise counts.error("is no text of COCO with lengths of runs")
        number |= (value & 31) << bits
        bits += 5
        if not value & 32:
            if value & 16:
                number -= 1 << bits
            lengths.append(number + (lengths[-2] if len(lengths) > 2 else 0))
            number = bits = 0
    return lengths
