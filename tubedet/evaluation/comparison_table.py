"""A comparison as one table: for the terminal, for markdown and for LaTeX."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from tabulate import tabulate

from tubedet.errors import UserError
from tubedet.files.atomic_writing import open_atomically

from .bootstrap import Interval
from .comparison import Comparison

# Ending of a file to the name that tabulate gives the format.
TABLE_FORMATS = {".md": "pipe", ".tex": "latex_booktabs"}
# LaTeX has a minus in formulas only; tabulate would escape the signs of a formula.
_MINUS, _LATEX_MINUS = "\N{MINUS SIGN}", "$-$"


def check_table_path(path: str | PathLike) -> None:
    """Refuse a file whose ending is no format.

    Args:
        path: Where a table is to be written.

    Raises:
        UserError: if it is not.
    """
    if Path(path).suffix not in TABLE_FORMATS:
        raise UserError(
            f"--table {path}: the ending says the format, .md for markdown or .tex for LaTeX"
        )


def comparison_table(comparison: Comparison, table_format: str = "pipe") -> str:
    """Lay a comparison out as one table, in percent.

    Args:
        comparison: Of one or more files.
        table_format: Of tabulate.

    Returns:
        str: a row of each metric and of each class with ground truth. There is a column of each
        file, of the difference of each to the first, and of ground-truth boxes.
    """
    names = [entry.name for entry in comparison.files]
    is_latex = table_format.startswith("latex")
    minus = _MINUS if is_latex else "-"
    headers = ["", *names, *(f"{name} {minus} {names[0]}" for name in names[1:]), "boxes"]
    total = f"{sum(comparison.boxes_per_class.values()):,}"
    # The means of tubes are not of these boxes.
    rows = [
        [metric, *_with_sign(metric_cells(comparison, metric), minus), "" if place else total]
        for place, metric in enumerate(comparison.metrics)
    ]
    for name in comparison.classes:
        aps = [entry.class_aps[name] for entry in comparison.files]
        cells = [f"{100 * ap:.2f}" for ap in aps]
        cells += [signed_percent(ap - aps[0]) for ap in aps[1:]]
        rows.append([name, *_with_sign(cells, minus), f"{comparison.boxes_per_class[name]:,}"])
    text = tabulate(
        rows,
        headers=headers,
        tablefmt=table_format,
        disable_numparse=True,
        colalign=("left", *["right"] * (len(headers) - 1)),
    )
    return text.replace(_MINUS, _LATEX_MINUS) if is_latex else text


def table_note(comparison: Comparison) -> str:
    """Say the unit and the protocol of :func:`comparison_table`, and what its columns are.

    Args:
        comparison: Of one or more files.
    """
    differences = ", differences are to the first file" if len(comparison.files) > 1 else ""
    return (
        f"in percent, protocol {comparison.protocol}; the rows of classes are frame-AP@0.5"
        f"{differences}"
    )


def metric_cells(comparison: Comparison, metric: str) -> list[str]:
    """Return the value of a metric of each file, then the differences, all with their intervals.

    Args:
        comparison: Of one or more files.
        metric: One of its metrics.
    """
    values = [entry.mean_aps[metric] for entry in comparison.files]
    resampled = comparison.resampled.get(metric)
    intervals = [entry.interval for entry in resampled] if resampled else [None] * len(values)
    of_differences = (
        [entry.difference for entry in resampled[1:]] if resampled else [None] * (len(values) - 1)
    )
    cells = [
        f"{100 * value:.2f}{_brackets(interval)}" for value, interval in zip(values, intervals)
    ]
    cells += [
        f"{signed_percent(value - values[0])}{_brackets(interval, signed=True)}"
        for value, interval in zip(values[1:], of_differences)
    ]
    return cells


def write_comparison_table(comparison: Comparison, path: str | PathLike) -> None:
    """Write the table in the format that the ending of the file names.

    Unit, protocol and the meaning of brackets go with it: as comments in LaTeX, else below it.

    Args:
        comparison: Of one or more files.
        path: Ends in ``.md`` or ``.tex``; a file of that name is replaced in one step.

    Raises:
        OSError: The file cannot be written.
    """
    table_format = TABLE_FORMATS[Path(path).suffix]
    text = comparison_table(comparison, table_format)
    note = table_note(comparison)
    notes = [f"{note[0].upper()}{note[1:]}.", comparison.interval_note]
    notes = [note for note in notes if note]
    if table_format.startswith("latex"):
        notes.append(r"Needs \usepackage{booktabs}.")
        text = "\n".join([*(f"% {note}" for note in notes), text])
    else:
        text += f"\n\n{' '.join(notes)}"
    with open_atomically(path) as stream:
        stream.write(f"{text}\n")


def signed_percent(fraction: float) -> str:
    """Return a difference of fractions in percent, with its sign.

    Args:
        fraction: In [-1, 1].
    """
    text = f"{100 * fraction:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text


def interval_text(interval: Interval, *, signed: bool = False) -> str:
    """Return the ends of an interval in brackets, in percent.

    Args:
        interval: Of fractions.
        signed: Of a difference.
    """
    low, high = (signed_percent(end) if signed else f"{100 * end:.2f}" for end in interval)
    return f"[{low}, {high}]"


def _with_sign(cells: list[str], minus: str) -> list[str]:
    return [cell.replace("-", minus) for cell in cells]


def _brackets(interval: Interval | None, *, signed: bool = False) -> str:
    return "" if interval is None else f" {interval_text(interval, signed=signed)}"
