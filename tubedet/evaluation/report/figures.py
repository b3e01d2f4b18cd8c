"""The pictures of the html report, drawn with matplotlib and returned as png."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tubedet.evaluation.confusion import ConfusionMatrix
from tubedet.evaluation.error_analysis import Slice

_BLUE, _GREY, _LINE = "#33658a", "#8b959e", "#d5dade"
_MOST_CLASSES = 60
# matplotlib, like the page, is told sizes in pixels of a screen at 1x and draws twice as fine.
_PIXELS_PER_INCH, _FINENESS = 96, 2


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


def draw_confusion(matrix: ConfusionMatrix) -> bytes:
    """Draw the shares of a confusion matrix as shades, with numbers where there is room.

    Args:
        matrix: Of at least one class with persons; the most frequent ones are drawn.

    Returns:
        bytes: png. Actual classes are rows, predicted ones columns; the last column is what
        nothing was predicted of.
    """
    common = np.argsort(-matrix.num_persons, kind="stable")[:_MOST_CLASSES]
    shown = np.sort(common[matrix.num_persons[common] > 0])
    names = [_shortened(matrix.class_names[index], 24) for index in shown.tolist()]
    unseen = matrix.unseen[shown] / matrix.num_persons[shown]
    shares = np.column_stack([matrix.shares[np.ix_(shown, shown)], unseen])
    side = max(13, min(44, 640 // len(names)))
    figure = _figure(min(960, 230 + side * (len(names) + 1)), 170 + side * len(names))
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    size = 8 if side > 14 else 6
    axis.set_xticks(range(len(names) + 1), [*names, "nothing"], rotation=90, fontsize=size)
    axis.set_yticks(range(len(names)), names, fontsize=size)
    for label in (*axis.get_xticklabels(), *axis.get_yticklabels()):
        label.set_parse_math(False)  # "$" in a name is no formula
    if side >= 26:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                text, colour = f"{100 * share:.0f}", "white" if share > 0.6 else "black"
                axis.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    axis.set_xlabel("predicted", fontsize=9, color=_GREY)
    axis.set_ylabel("actual", fontsize=9, color=_GREY)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    return _png(figure)


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
