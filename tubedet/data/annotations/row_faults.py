"""Rows of a csv that can be read, but not be right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .ava_table import AVATable

# Fractions a little outside of the frame are sloppy; beyond that they are no fractions.
_LARGEST_FRACTION = 2.0


class RowFault(NamedTuple):
    """What is wrong with a row.

    Attributes:
        kind: a short fixed word.
        line: of the csv, from 1.
        message: what is wrong, and what to write.
    """

    kind: str
    line: int
    message: str


def box_faults(table: AVATable, *, pixels: bool, advice: str) -> Iterator[RowFault]:
    """Find boxes that are none, or have another unit.

    Args:
        table: the rows.
        pixels: boxes are in pixels; otherwise they are fractions of the frame.
        advice: what to do with pixels where fractions belong.

    Yields:
        RowFault: one for each such row.
    """
    boxes = table.boxes

    def faults(rows: np.ndarray, kind: str, problem: str, advice: str = "") -> Iterator[RowFault]:
        for row in np.flatnonzero(rows):
            shown = ", ".join(f"{edge:.6g}" for edge in boxes[row])
            yield RowFault(kind, int(table.lines[row]), f"{problem}: {shown}{advice}")

    empty = (boxes[:, :2] >= boxes[:, 2:]).any(axis=1)
    corners = "; write two corners x1,y1,x2,y2, not x,y,width,height"
    yield from faults(empty, "empty-box", "not a box, x1 >= x2 or y1 >= y2", corners)
    if pixels:
        small = boxes.max(axis=1) <= 1
        if len(boxes) and small.all():
            message = (
                "all boxes are within 0 and 1: fractions, where pixels are declared; if these are "
                "fractions, say 'boxes: fractions'"
            )
            yield RowFault("fraction-boxes", int(table.lines[0]), message)
        else:
            yield from faults(small, "fraction-boxes", "within 0 and 1, where pixels belong")
        yield from faults((boxes < 0).any(axis=1), "out-of-range", "a negative coordinate")
        return
    large = (np.abs(boxes) > _LARGEST_FRACTION).any(axis=1)
    if large.any() and boxes.max() <= 100:
        advice += "; if these are per cent, divide them by 100"
    yield from faults(
        large, "pixel-boxes", "pixels, where fractions of the frame belong", f"; {advice}"
    )
    outside = ((boxes < 0) | (boxes > 1)).any(axis=1) & ~large
    yield from faults(
        outside,
        "out-of-range",
        "not within 0 and 1",
        f"; cut it at the edge of the frame, or {advice}",
    )


def repeated_rows(rows: np.ndarray) -> list[tuple[int, int]]:
    """Return the pairs of equal rows: an earlier one, and the next one that equals it.

    Args:
        rows: (N, C) numbers.
    """
    order = np.lexsort(rows.T)  # stable, so equal rows stay in file order
    same = (rows[order][1:] == rows[order][:-1]).all(axis=1)
    return sorted(zip(order[:-1][same].tolist(), order[1:][same].tolist()))


def beyond_whole_seconds(table: AVATable) -> RowFault | None:
    """Return the first row that only the protocol of 2020 understands; None if there is none.

    Args:
        table: the rows.
    """
    advice = "the protocol official_2020 is needed (TEST.AVA_PROTOCOL in a config)"
    found = [
        RowFault("protocol", line, f"a row of two columns: {advice}")
        for line in table.empty_lines[:1]
    ]
    for row in np.flatnonzero(table.timestamps % 1)[:1]:
        message = f"{table.timestamps[row]:g} is no whole second: {advice}"
        found.append(RowFault("protocol", int(table.lines[row]), message))
    return min(found, key=lambda fault: fault.line, default=None)
