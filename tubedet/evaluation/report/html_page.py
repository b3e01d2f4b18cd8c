"""One self-contained html page about one prediction file."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from os import PathLike
from pathlib import Path
from string import Template

from tubedet.evaluation.error_analysis import ClassFigures, ErrorAnalysis, Example
from tubedet.files.atomic_writing import open_atomically

_MAX_CURVES = 90
_FILE_NAME = "index.html"
# By this, which stands in the head of every report, older reports are known from foreign pages.
_GENERATOR = '<meta name="generator" content="tubedet evaluation report">'
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class ProtocolFigure:
    """A figure of the table at the top.

    Attributes:
        metric: E.g. "frame-mAP@0.5".
        protocol: E.g. "official".
        value: In [0, 1]; NaN where it is not defined.
        remark: What the protocol does, or why there is no figure.
        chosen: The rest of the page follows this protocol.
    """

    metric: str
    protocol: str
    value: float
    remark: str = ""
    chosen: bool = False


@dataclass(frozen=True)
class ReportContent:
    """What the page shows.

    Attributes:
        title: Heading.
        facts: (what, value) of the files and their sizes.
        protocol_figures: mAP by protocol.
        analysis: Of the chosen protocol.
        rule: One sentence: how the detections of the analysis were matched.
        false_positive_pictures: A jpg or None for each false positive of the analysis.
        missed_pictures: A jpg or None for each missed box of the analysis.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    protocol_figures: Sequence[ProtocolFigure]
    analysis: ErrorAnalysis
    rule: str = ""
    false_positive_pictures: Sequence[bytes | None] = field(default=())
    missed_pictures: Sequence[bytes | None] = field(default=())


def check_report_folder(folder: str | PathLike) -> None:
    """Make sure that a report can be written without loss, before the work that it shows.

    Args:
        folder: Where to write; it need not exist.

    Raises:
        OSError: A file is in the way: in place of the folder, or an ``index.html`` that is no
            report.
    """
    path = Path(folder) / _FILE_NAME
    for parent in path.parents:
        if parent.is_dir():
            break
        if parent.exists():
            raise NotADirectoryError(f"{parent} is a file, the report needs a folder")
    if path.exists():
        if not path.is_file():
            raise IsADirectoryError(f"{path} is a folder, the report needs this name for a file")
        with open(path, "rb") as stream:
            head = stream.read(_HEAD_BYTES)
        if _GENERATOR.encode() not in head:
            raise FileExistsError(
                f"{path} would be replaced and is no report of this program; remove it or choose "
                "another folder"
            )


def write_html_report(content: ReportContent, folder: str | PathLike) -> Path:
    """Write ``index.html``: pictures, style and script are part of it, nothing is loaded.

    Args:
        content: What to show.
        folder: Where to write; made if missing.

    Returns:
        Path: the file.

    Raises:
        OSError: The file cannot be written, see also :func:`check_report_folder`.
    """
    check_report_folder(folder)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _FILE_NAME
    with open_atomically(path) as stream:
        stream.write(render_html(content))
    return path


def render_html(content: ReportContent) -> str:
    """Lay the page out.

    Args:
        content: What to show; every text of it is escaped.

    Returns:
        str: the whole html document.
    """
    # Loads matplotlib, half a second that an evaluation without a report does not wait for.
    from .figures import draw_curves, draw_error_kinds, draw_slices

    analysis = content.analysis
    by_ap = sorted(analysis.classes, key=lambda entry: -entry.average_precision)
    shown = sorted(by_ap, key=lambda entry: -entry.num_groundtruth)[:_MAX_CURVES]
    with_curves = [entry for entry in by_ap if entry in shown]
    curves = "<p>No class has ground truth.</p>"
    if with_curves:
        curves = _picture(
            draw_curves(with_curves, analysis.curves), "Precision over recall of each class"
        )
    return _PAGE.substitute(
        title=escape(content.title),
        facts="".join(
            f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
            for name, value in content.facts
        ),
        protocols="\n".join(map(_protocol_row, content.protocol_figures)),
        rule=escape(content.rule),
        kinds=_picture(draw_error_kinds(analysis.error_kinds), "Kinds of errors"),
        classes="\n".join(map(_class_row, by_ap)),
        curves=curves,
        curves_note=_curves_note(len(with_curves), len(by_ap)),
        by_size=_picture(
            draw_slices(analysis.by_size, "area of the person's box, share of the frame"),
            "Mean AP by person size",
        ),
        by_people=_picture(
            draw_slices(analysis.by_people, "persons in the key frame"),
            "Mean AP by number of persons",
        ),
        false_positives=_cards(analysis.false_positives, content.false_positive_pictures, True),
        missed=_cards(analysis.missed, content.missed_pictures, False),
    )


def _protocol_row(figure: ProtocolFigure) -> str:
    mark = ' class="chosen"' if figure.chosen else ""
    value = "&ndash;" if math.isnan(figure.value) else f"{100 * figure.value:.2f}"
    return (
        f"<tr{mark}><td>{escape(figure.metric)}</td><td>{escape(figure.protocol)}</td>"
        f'<td class="number">{value}</td><td class="remark">{escape(figure.remark)}</td></tr>'
    )


def _class_row(entry: ClassFigures) -> str:
    percent = 100 * entry.average_precision
    bar = f'<span class="bar" style="width:{percent:.2f}%"></span>'
    return (
        f"<tr><td>{escape(entry.name)}</td>"
        f'<td class="number ap" data-value="{entry.average_precision:.9f}">{bar}'
        f"<span>{percent:.2f}</span></td>"
        f'<td class="number" data-value="{entry.num_groundtruth}">{entry.num_groundtruth:,}</td>'
        f'<td class="number" data-value="{entry.num_detections}">{entry.num_detections:,}</td>'
        f'<td class="number" data-value="{entry.best_recall:.9f}">{100 * entry.best_recall:.1f}'
        "</td></tr>"
    )


def _curves_note(num_shown: int, num_classes: int) -> str:
    left_out = "" if num_shown == num_classes else f" The {num_shown} most frequent classes."
    return f"Best classes first; beside each name its AP.{left_out}"


def _cards(examples: Sequence[Example], pictures: Sequence[bytes | None], with_score: bool) -> str:
    if not examples:
        return "<p>None.</p>"
    pictures = list(pictures) or [None] * len(examples)
    cards = []
    for example, picture in zip(examples, pictures, strict=True):
        where = f"{example.video_id} @ {example.timestamp:g}"
        if picture is None:
            corners = " ".join(f"{x:.3f}" for x in example.box)
            shown = f'<div class="absent">no picture<br>box {corners}</div>'
        else:
            shown = f'<img alt="{escape(where)}" src="{_data_url(picture, "jpeg")}">'
        score = f' <span class="score">{example.score:.3f}</span>' if with_score else ""
        cards.append(
            f"<figure>{shown}<figcaption><b>{escape(example.class_name)}</b>{score}<br>"
            f'{escape(example.remark)}<br><span class="where">{escape(where)}</span>'
            "</figcaption></figure>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _picture(png: bytes, text: str) -> str:
    return f'<img alt="{escape(text)}" src="{_data_url(png, "png")}">'


def _data_url(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


_STYLE = """
:root { color-scheme: light; --ink: #24292e; --grey: #6a737d; --line: #e3e7ea; --blue: #33658a; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 1010px; color: var(--ink);
  background: #fff; font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; font-weight: 600; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; font-weight: 600; margin: 2.8rem 0 .4rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
p { margin: .2rem 0 .9rem; color: var(--grey); max-width: 75ch; }
dl { display: flex; flex-wrap: wrap; gap: .4rem 2.2rem; margin: 0 0 1.6rem; }
dt { color: var(--grey); font-size: .8rem; }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: left; border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
th { font-size: .85rem; font-weight: 600; color: var(--grey); white-space: nowrap; }
th.number, td.number { text-align: right; white-space: nowrap; }
#protocols td:first-child { white-space: nowrap; }
td.remark { color: var(--grey); font-size: .9rem; }
tr.chosen td { background: #f2f6f9; }
tr.chosen td.number { font-weight: 700; }
#classes tbody tr:hover { background: #f7f9fa; }
th button { all: unset; cursor: pointer; }
th button:hover, th button:focus-visible { color: var(--blue); text-decoration: underline; }
th button::after { content: " \\2195"; opacity: .35; }
th[aria-sort=ascending] button::after { content: " \\2191"; opacity: 1; }
th[aria-sort=descending] button::after { content: " \\2193"; opacity: 1; }
td.ap { position: relative; min-width: 11rem; }
td.ap .bar { position: absolute; left: 0; top: 20%; height: 60%; background: #d9e5ee;
  border-radius: 2px; }
td.ap span:last-child { position: relative; }
img { max-width: 100%; height: auto; display: block; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 1rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(215px, 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 5px; overflow: hidden; }
figure img { width: 100%; }
figcaption { padding: .45rem .65rem .6rem; font-size: .85rem; line-height: 1.4;
  overflow-wrap: anywhere; }
.score { float: right; font-variant-numeric: tabular-nums; }
.where { color: var(--grey); }
.absent { padding: 1.4rem .6rem; text-align: center; font-size: .8rem; color: var(--grey);
  background: #f7f9fa; }
@media print { h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""

# Sorts the table of classes by the column whose head is clicked, best or most first, and again the
# other way round.
_SCRIPT = """
const table = document.getElementById("classes");
const heads = Array.from(table.tHead.rows[0].cells);
const value = (row, column) => {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
};
heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
  const before = head.getAttribute("aria-sort");
  const first = head.dataset.first;
  const direction = before === first
    ? (first === "ascending" ? "descending" : "ascending") : first;
  heads.forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", direction);
  const sign = direction === "ascending" ? 1 : -1;
  const rows = Array.from(table.tBodies[0].rows);
  rows.sort((one, other) => {
    const a = value(one, column), b = value(other, column);
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b));
  });
  table.tBodies[0].append(...rows);
}));
"""

_PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
GENERATOR
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>$title</title>
<link rel="icon" href="data:,">
<style>STYLE</style>
</head>
<body>
<h1>$title</h1>
<dl>$facts</dl>
<table id="protocols">
<thead><tr><th>metric</th><th>protocol</th><th class="number">%</th><th></th></tr></thead>
<tbody>
$protocols
</tbody>
</table>

<h2>Kinds of errors</h2>
<p>$rule Here: the best detections of each class, as many as it has ground-truth boxes.</p>
$kinds

<h2>Classes</h2>
<p>Click on a heading to sort. A box with several actions counts once for each of them. The best
recall is that without any threshold.</p>
<table id="classes">
<thead><tr>
<th data-first="ascending"><button type="button">class</button></th>
<th class="number" data-first="descending" aria-sort="descending"><button
 type="button">AP in %</button></th>
<th class="number" data-first="descending"><button type="button">boxes</button></th>
<th class="number" data-first="descending"><button type="button">detections</button></th>
<th class="number" data-first="descending"><button type="button">best recall in %</button></th>
</tr></thead>
<tbody>
$classes
</tbody>
</table>

<h2>Precision and recall</h2>
<p>$curves_note</p>
$curves

<h2>Size of the person, persons in the key frame</h2>
<p>Mean AP in percent over the classes that have ground truth in the group, so the groups do not
average the same classes. By size, a detection belongs where the box it finds belongs, else where
its own size puts it.</p>
<div class="pair">$by_size$by_people</div>

<h2>Most confident false positives</h2>
<p>A few per class at most.</p>
$false_positives

<h2>Most missed positives</h2>
<p>Ground truth that none of the best detections of its class found, as many as there are boxes:
what no detection found comes first, large persons before small ones. A few per class at most.</p>
$missed
<script>SCRIPT</script>
</body>
</html>
""".replace("GENERATOR", _GENERATOR)
    .replace("STYLE", _STYLE)
    .replace("SCRIPT", _SCRIPT)
)
