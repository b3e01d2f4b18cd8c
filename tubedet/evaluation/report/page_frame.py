"""What the pages of reports have in common: head, style, script, and where they are written."""

from __future__ import annotations

import base64
from html import escape
from os import PathLike
from pathlib import Path
from string import Template

from tubedet.files.atomic_writing import open_atomically

from .thumbnails import DETECTION_RGB, GROUNDTRUTH_RGB

_FILE_NAME = "index.html"
# By this, which stands in the head of every report, older reports are known from foreign pages.
_GENERATOR = '<meta name="generator" content="tubedet evaluation report">'
_HEAD_BYTES = 4096


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


def write_page(title: str, body: str, folder: str | PathLike) -> Path:
    """Write ``index.html``: pictures, style and script are part of it, nothing is loaded.

    Args:
        title: Heading, as plain text.
        body: The html below it.
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
        stream.write(render_page(title, body))
    return path


def render_page(title: str, body: str) -> str:
    """Put a body into the frame of all pages.

    Args:
        title: Heading, as plain text.
        body: The html below it.

    Returns:
        str: the whole html document.
    """
    return _PAGE.substitute(title=escape(title), body=body)


def facts_list(facts: list[tuple[str, str]] | tuple[tuple[str, str], ...]) -> str:
    """Return the list of facts below the heading.

    Args:
        facts: (what, value), as plain text.
    """
    entries = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts
    )
    return f"<dl>{entries}</dl>"


def gauge_cell(fraction: float, text: str) -> str:
    """Return a table cell with a bar beside its number.

    Args:
        fraction: Length of the bar, in [0, 1].
        text: The number.
    """
    return (
        f'<td class="number" data-value="{fraction:.9f}"><div class="gauge"><span class="track">'
        f'<span class="bar" style="width:{100 * min(1.0, fraction):.2f}%"></span></span>'
        f'<span class="value">{text}</span></div></td>'
    )


def sortable_heads(names: list[str], sorted_by: int) -> str:
    """Return the heads of a table of class ``sortable``; numbers follow the name of the row.

    Args:
        names: Of the columns, as plain text.
        sorted_by: Place of the column of numbers that the rows are sorted by, largest first.
    """
    heads = []
    for place, name in enumerate(names):
        first = (
            ' data-first="ascending"' if place == 0 else ' class="number" data-first="descending"'
        )
        is_sorted = ' aria-sort="descending"' if place == sorted_by else ""
        heads.append(f'<th{first}{is_sorted}><button type="button">{escape(name)}</button></th>')
    return "".join(heads)


def picture_tag(content: bytes, text: str, kind: str = "png", *, shrinks: bool = True) -> str:
    """Return an image that is part of the page.

    Args:
        content: Of the file.
        text: What it shows, as plain text.
        kind: "png" or "jpeg".
        shrinks: Narrow pages show it smaller; otherwise a png keeps the size that it was drawn
            for.
    """
    # The width in the head of a png, which has two pixels for each of the page.
    width = int.from_bytes(content[16:20], "big") // 2
    style = "" if shrinks else f' style="min-width:{width}px"'
    encoded = base64.b64encode(content).decode("ascii")
    return f'<img alt="{escape(text)}"{style} src="data:image/{kind};base64,{encoded}">'


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
#protocols td:nth-child(-n+2) { white-space: nowrap; }
td.remark { color: var(--grey); font-size: .9rem; }
tr.chosen td { background: #f2f6f9; }
tr.chosen td.number { font-weight: 700; }
#classes th.number { white-space: normal; }
#classes tbody tr:hover { background: #f7f9fa; }
th button { all: unset; cursor: pointer; }
th button:hover, th button:focus-visible { color: var(--blue); text-decoration: underline; }
th button::after { content: " \\2195"; opacity: .35; }
th[aria-sort=ascending] button::after { content: " \\2191"; opacity: 1; }
th[aria-sort=descending] button::after { content: " \\2193"; opacity: 1; }
.gauge { display: flex; align-items: center; gap: .6rem; justify-content: flex-end; }
.track { flex: 1; min-width: 5rem; height: .7em; }
.bar { display: block; height: 100%; background: #9dbad0; border-radius: 2px; }
.scroll { overflow-x: auto; }
.scroll td { overflow-wrap: normal; }
td small { color: var(--grey); }
.key { display: inline-block; width: .9em; height: .9em; vertical-align: -.1em; border: 1px solid
  #000; }
.key.detection { background: rgb(DETECTION); }
.key.groundtruth { background: rgb(GROUNDTRUTH); }
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
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(145px, 1fr));
  gap: .8rem; align-items: end; }
.curves figure { border: 0; border-radius: 0; overflow: visible; }
.curves figcaption { padding: 0; font-size: .75rem; }
.curves svg { display: block; width: 100%; height: auto; }
svg text { font-size: 9px; fill: var(--grey); }
svg .axes { stroke: #d5dade; fill: none; }
svg .curve { fill: none; stroke-width: 1.4; }
.s0 { stroke: #33658a; color: #33658a; }
.s1 { stroke: #d1495b; color: #d1495b; stroke-dasharray: 5 2; }
.s2 { stroke: #3c8d2f; color: #3c8d2f; stroke-dasharray: 2 2; }
.s3 { stroke: #8a5a00; color: #8a5a00; stroke-dasharray: 7 2 2 2; }
.s4 { stroke: #6f42c1; color: #6f42c1; stroke-dasharray: 1 2; }
.s5 { stroke: #222; color: #222; stroke-dasharray: 9 3; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin-bottom: .6rem; }
.legend svg { width: 30px; height: 10px; margin-right: .4rem; }
@media (max-width: 600px) {
  body { padding: 1.2rem 1rem 3rem; }
  table { font-size: .82rem; }
  th, td { padding: .25rem .3rem; }
  th, th.number { white-space: normal; overflow-wrap: normal; font-size: .75rem; }
  .track { display: none; }
  td small { display: block; }
  #protocols tr { display: grid; grid-template-columns: minmax(0, 4fr) repeat(2,
    minmax(0, 3fr)); border-bottom: 1px solid var(--line); }
  #protocols td, #protocols th { border: 0; }
  #protocols td.remark { grid-column: 1 / -1; }
  .pair { grid-template-columns: 1fr; }
  .cards { grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .6rem; }
}
@media print { h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""

# Sorts a table by the column whose head is clicked, best or most first, and again the other way
# round.
_SCRIPT = """
const value = (row, column) => {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = Array.from(table.tHead.rows[0].cells);
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
}
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
$body
<script>SCRIPT</script>
</body>
</html>
""".replace("GENERATOR", _GENERATOR)
    .replace("STYLE", _STYLE)
    .replace("rgb(DETECTION)", f"rgb{DETECTION_RGB}")
    .replace("rgb(GROUNDTRUTH)", f"rgb{GROUNDTRUTH_RGB}")
    .replace("SCRIPT", _SCRIPT)
)
