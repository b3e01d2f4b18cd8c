"""Precision over recall of each class as small drawings that fit every width of a page (SVG)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

# Colours and dashes of the page.
MAX_FILES = 6
_RECALLS = np.linspace(0, 1, 201)
_LEFT, _TOP, _WIDTH, _HEIGHT = 20, 4, 120, 84

Curve = tuple[np.ndarray, np.ndarray]


def curve_drawings(
    classes: Sequence[tuple[str, str]], curves: Sequence[Mapping[str, Curve]]
) -> str:
    """Return one drawing per class, in which the curves of all files lie over each other.

    Args:
        classes: Name of each class, and the text beside it.
        curves: Of each file: class name to (precision, recall), best score first. The line is the
            monotone envelope, whose area is the AP.

    Returns:
        str: html.
    """
    drawings = []
    for name, text in classes:
        lines = "".join(
            f'<path class="curve s{place}" d="{_path(*of_file[name])}"/>'
            for place, of_file in enumerate(curves)
            if name in of_file
        )
        drawings.append(
            f"<figure><figcaption>{escape(name)} <b>{escape(text)}</b></figcaption>"
            f'<svg viewBox="0 0 145 104" role="img" aria-label="{escape(name)}">'
            f"{_AXES}{lines}</svg></figure>"
        )
    return f'<div class="curves">{"".join(drawings)}</div>'


def curve_legend(names: Sequence[str]) -> str:
    """Return which line is which file.

    Args:
        names: Of the files.

    Returns:
        str: html.
    """
    entries = "".join(
        '<span><svg viewBox="0 0 30 10" aria-hidden="true">'
        f'<path class="curve s{place}" d="M0 5H30"/></svg>{escape(name)}</span>'
        for place, name in enumerate(names)
    )
    return f'<div class="legend">{entries}</div>'


def _path(precision: np.ndarray, recall: np.ndarray) -> str:
    """Return the envelope as steps, with a point where it changes only."""
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    heights = best[np.searchsorted(recall, _RECALLS, side="left")]
    changes = np.flatnonzero(np.diff(heights)) + 1
    steps = [f"M{_x(0)} {_y(heights[0])}"]
    # The value at a recall holds from the recall before it on.
    steps += [f"H{_x(_RECALLS[place - 1])}V{_y(heights[place])}" for place in changes.tolist()]
    return "".join(steps) + f"H{_x(1)}"


def _x(recall: float) -> str:
    return f"{_LEFT + _WIDTH * recall:.5g}"


def _y(precision: float) -> str:
    return f"{_TOP + _HEIGHT * (1 - precision):.5g}"


def _axes() -> str:
    ticks = "".join(
        f'<text x="{_x(value)}" y="{_TOP + _HEIGHT + 11}" text-anchor="middle">{value:g}</text>'
        f'<text x="{_LEFT - 4}" y="{_y(value)}" dy="3" text-anchor="end">{value:g}</text>'
        for value in (0, 0.5, 1)
    )
    return f'<path class="axes" d="M{_LEFT} {_TOP}V{_TOP + _HEIGHT}H{_LEFT + _WIDTH}"/>{ticks}'


_AXES = _axes()
