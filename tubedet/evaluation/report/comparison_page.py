"""The html page that compares files of predictions, with one page about each of them beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from os import PathLike
from pathlib import Path

from tubedet.errors import UserError
from tubedet.evaluation.comparison import Comparison
from tubedet.evaluation.comparison_table import metric_cells, signed_percent
from tubedet.evaluation.error_kinds import TIDE_NAMES

from .content import with_intervals
from .curves import MAX_FILES, curve_drawings, curve_legend
from .html_page import ReportContent, shown_curves, write_html_report
from .page_frame import check_report_folder, facts_list, sortable_heads, write_page


def check_comparison_folders(folder: str | PathLike, num_files: int) -> None:
    """Make sure that the pages can be written without loss, before the work that they show.

    Args:
        folder: Where to write; it need not exist.
        num_files: Files that are compared.

    Raises:
        OSError: A file is in the way of a page.
        UserError: There are more files than colours.
    """
    if num_files > MAX_FILES:
        raise UserError(
            f"--report: {num_files} files of --predictions are more than the {MAX_FILES} lines "
            "that a drawing can tell apart; give fewer files, or leave --report out"
        )
    check_report_folder(folder)
    for number in range(1, num_files + 1):
        check_report_folder(Path(folder) / str(number))


def write_comparison_report(
    comparison: Comparison,
    contents: Sequence[ReportContent],
    folder: str | PathLike,
    *,
    title: str,
) -> Path:
    """Write ``index.html`` with the comparison, and ``1/index.html`` and so on about each file.

    Args:
        comparison: Of several files.
        contents: What is to be shown of each.
        folder: Where to write; made if missing.
        title: Heading.

    Returns:
        Path: the page with the comparison.

    Raises:
        OSError: A file cannot be written.
        UserError: There are more files than colours.
    """
    check_comparison_folders(folder, len(contents))
    for place, content in enumerate(contents):
        page = replace(with_intervals(content, comparison, place), overview="../index.html")
        write_html_report(page, Path(folder) / str(place + 1))
    return write_page(title, _body(comparison, contents), folder)


def _body(comparison: Comparison, contents: Sequence[ReportContent]) -> str:
    names = [entry.name for entry in comparison.files]
    differences = [f"{name} - {names[0]}" for name in names[1:]]
    first = contents[0]
    facts = [fact for fact in first.facts if fact[0] not in ("predictions", "detections")]
    facts.append(("videos", f"{comparison.num_videos:,}"))
    with_curves, left_out = shown_curves(first.analysis.classes)
    drawings = curve_drawings(
        [
            (
                entry.name,
                " | ".join(f"{100 * file.class_aps[entry.name]:.0f}" for file in comparison.files),
            )
            for entry in with_curves
        ],
        [content.analysis.curves for content in contents],
    )
    return f"""{facts_list(tuple(facts))}
<ul>
{_links(comparison)}
</ul>
<p>In percent; differences are to {escape(names[0])}. {escape(comparison.interval_note)}</p>
<div class="scroll"><table id="metrics">
<thead><tr><th>protocol {escape(comparison.protocol)}</th>{_number_heads(names + differences)}
</tr></thead>
<tbody>
{_metric_rows(comparison)}
</tbody>
</table></div>

<h2>AP gained without errors of one kind</h2>
<p>{escape(first.rule)} What mean AP, in points, would gain if all errors of that kind were
corrected, as in TIDE; the gains do not add up.</p>
<div class="scroll"><table id="kinds">
<thead><tr><th>kind</th>{_number_heads(names)}</tr></thead>
<tbody>
{_gain_rows(contents)}
</tbody>
</table></div>

<h2>Classes</h2>
<p>Click on a heading to sort. Frame-AP@0.5 in percent, protocol
{escape(comparison.protocol)}.</p>
<div class="scroll"><table id="classes" class="sortable">
<thead><tr>{sortable_heads(["class", *names, *differences, "boxes"], sorted_by=1)}</tr></thead>
<tbody>
{_class_rows(comparison)}
</tbody>
</table></div>

<h2>Precision and recall</h2>
<p>Precision over recall. Best classes of {escape(names[0])} first; beside each name the AP of the
files in percent, protocol {escape(comparison.protocol)}.{left_out}</p>
{curve_legend(names)}
{drawings}
"""


def _number_heads(names: Sequence[str]) -> str:
    return "".join(f'<th class="number">{escape(name)}</th>' for name in names)


def _links(comparison: Comparison) -> str:
    return "\n".join(
        f'<li><a href="{number}/index.html">{escape(entry.name)}</a> '
        f"<small>{escape(entry.source)}</small></li>"
        for number, entry in enumerate(comparison.files, start=1)
    )


def _metric_rows(comparison: Comparison) -> str:
    rows = []
    for metric in comparison.metrics:
        cells = []
        for cell in metric_cells(comparison, metric):
            value, _, interval = cell.partition(" ")
            cells.append(f'<td class="number">{value} <small>{interval}</small></td>')
        rows.append(f"<tr><td>{escape(metric)}</td>{''.join(cells)}</tr>")
    return "\n".join(rows)


def _gain_rows(contents: Sequence[ReportContent]) -> str:
    rows = []
    for kind, name in TIDE_NAMES.items():
        cells = "".join(
            f'<td class="number">+{100 * content.analysis.gains[kind]:.2f}</td>'
            for content in contents
        )
        rows.append(
            f"<tr><td><b>{escape(name)}</b><br><small>{escape(kind)}</small></td>{cells}</tr>"
        )
    return "\n".join(rows)


def _class_rows(comparison: Comparison) -> str:
    rows = []
    by_ap = sorted(comparison.classes, key=lambda name: -comparison.files[0].class_aps[name])
    for name in by_ap:
        aps = [entry.class_aps[name] for entry in comparison.files]
        cells = [_number(ap, f"{100 * ap:.2f}") for ap in aps]
        cells += [_number(ap - aps[0], signed_percent(ap - aps[0])) for ap in aps[1:]]
        boxes = comparison.boxes_per_class[name]
        cells.append(_number(boxes, f"{boxes:,}"))
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}</tr>")
    return "\n".join(rows)


def _number(value: float, text: str) -> str:
    return f'<td class="number" data-value="{value:.9f}">{text}</td>'
