"""The pictures of the html report, drawn with matplotlib and returned as png."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tubedet.evaluation.error_analysis import CORRECT, ClassFigures, Slice

_BLUE, _GREY, _LINE = "#33658a", "#8b959e", "#d5dade"
_KIND_COLOURS = (_BLUE, "#86bbd8", "#f6ae2d", "#f26419", "#6c757d")
_RECALLS = np.linspace(0, 1, 201)
_COLUMNS = 6
# matplotlib, like the page, is told sizes in pixels of a screen at 1x and draws twice as fine.
_PIXELS_PER_INCH, _FINENESS = 96, 2


def draw_curves(
    classes: Sequence[ClassFigures], curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> bytes:
    """Draw one small precision-recall plot per class.

    Args:
        classes: In the order of the plots, at least one.
        curves: Class name to (precision, recall), best score first.

    Returns:
        bytes: png. The line is the monotone envelope, whose area is the AP; the area is tinted.
    """
    num_rows = math.ceil(len(classes) / _COLUMNS)
    width, height = 960, 60 + 128 * num_rows
    figure = _figure(width, height, layout=None)  # a computed layout of so many plots takes 10 s
    figure.subplots_adjust(
        left=55 / width,
        right=1 - 8 / width,
        bottom=42 / height,
        top=1 - 18 / height,
        wspace=0.12,
        hspace=0.3,
    )
    axes = figure.subplots(num_rows, _COLUMNS, squeeze=False)
    for place, (axis, entry) in enumerate(zip(axes.flat, classes)):
        envelope = _envelope(*curves[entry.name])
        axis.fill_between(_RECALLS, envelope, color=_BLUE, alpha=0.15, linewidth=0, step="pre")
        axis.step(_RECALLS, envelope, color=_BLUE, linewidth=1.2, where="pre")
        axis.set(xlim=(0, 1), ylim=(0, 1.03))
        axis.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
        axis.set_yticks((0, 0.5, 1), ("0", "0.5", "1"))
        title = f"{_shortened(entry.name, 17)}  {100 * entry.average_precision:.0f}"
        # "$" in a name is no formula.
        axis.set_title(title, fontsize=8, loc="left", pad=3, parse_math=False)
        _quiet(axis)
        is_lowest = place + _COLUMNS >= len(classes)
        axis.tick_params(labelleft=place % _COLUMNS == 0, labelbottom=is_lowest)
    for axis in axes.flat[len(classes) :]:
        axis.axis("off")
    figure.supxlabel("recall", fontsize=9, color=_GREY, y=4 / height)
    figure.supylabel("precision", fontsize=9, color=_GREY, x=4 / width)
    return _png(figure)


def draw_slices(slices: Sequence[Slice], x_label: str) -> bytes:
    """Draw mean AP as bars, with the number of ground-truth boxes below each.

    Args:
        slices: From left to right.
        x_label: What they differ in.

    Returns:
        bytes: png.
    """
    figure = _figure(470, 270)
    axis = figure.subplots()
    heights = [0.0 if math.isnan(s.mean_ap) else s.mean_ap for s in slices]
    axis.bar(range(len(slices)), heights, color=_BLUE, width=0.65)
    for place, (entry, height) in enumerate(zip(slices, heights)):
        text = "none" if math.isnan(entry.mean_ap) else f"{100 * entry.mean_ap:.1f}"
        axis.annotate(
            text,
            (place, height),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            color=_GREY if math.isnan(entry.mean_ap) else "black",
        )
    labels = [f"{s.label}\n{s.num_groundtruth:,}" for s in slices]
    axis.set_xticks(range(len(slices)), labels, fontsize=8)
    axis.set_ylim(0, max(0.1, 1.15 * max(heights, default=0.0)))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=""))
    axis.set_xlabel(f"{x_label}; below: boxes", fontsize=9, color=_GREY)
    axis.set_ylabel("mean AP", fontsize=9, color=_GREY)
    _quiet(axis)
    return _png(figure)


def draw_error_kinds(kinds: Mapping[str, int]) -> bytes:
    """Draw the share of each kind of detection as one bar.

    Args:
        kinds: Kind to number; :data:`tubedet.evaluation.error_analysis.CORRECT` comes first.

    Returns:
        bytes: png.
    """
    figure = _figure(960, 112)
    axis = figure.subplots()
    total, left = max(1, sum(kinds.values())), 0.0
    for (kind, number), colour in zip(kinds.items(), _KIND_COLOURS):
        share = number / total
        axis.barh(0, share, left=left, color=colour, label=f"{kind}: {100 * share:.1f} %")
        if share > 0.04:
            shade = "white" if kind == CORRECT else "black"
            centre = left + share / 2
            axis.text(centre, 0, f"{number:,}", ha="center", va="center", fontsize=9, color=shade)
        left += share
    axis.set_xlim(0, 1)
    axis.axis("off")
    figure.legend(loc="outside lower left", ncols=3, frameon=False, fontsize=8.5, handlelength=1)
    return _png(figure)


def _envelope(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Highest precision at each of ``_RECALLS`` or beyond, 0 beyond the last recall."""
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return best[np.searchsorted(recall, _RECALLS, side="left")]


def _shortened(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _figure(width: int, height: int, layout: str | None = "constrained") -> Figure:
    size = width / _PIXELS_PER_INCH, height / _PIXELS_PER_INCH
    return Figure(figsize=size, layout=layout, facecolor="white")


def _quiet(axis) -> None:
    axis.tick_params(labelsize=8, color=_LINE, labelcolor=_GREY, length=3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(_LINE)


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_PIXELS_PER_INCH * _FINENESS)
    return stream.getvalue()
