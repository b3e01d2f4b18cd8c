"""One self-contained html page about one prediction file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from os import PathLike
from pathlib import Path
from string import Template

from tubedet.evaluation.confusion import ConfusionMatrix
from tubedet.evaluation.error_analysis import ClassFigures, ErrorAnalysis
from tubedet.evaluation.error_examples import Example
from tubedet.evaluation.error_kinds import CORRECT, MISSED, TIDE_NAMES

from .curves import curve_drawings
from .page_frame import (
    facts_list,
    gauge_cell,
    picture_tag,
    render_page,
    sortable_heads,
    write_page,
)

MAX_CURVES = 90
_MOST_CONFUSIONS = 15


@dataclass(frozen=True)
class ProtocolFigure:
    """A figure of the table at the top.

    Attributes:
        metric: E.g. "frame-mAP@0.5".
        protocol: E.g. "official".
        value: In [0, 1]; NaN where it is not defined.
        remark: What the protocol does, or why there is no figure.
        chosen: The rest of the page follows this protocol.
        interval: Of the value, as text; "" for none.
    """

    metric: str
    protocol: str
    value: float
    remark: str = ""
    chosen: bool = False
    interval: str = ""


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
        ap_name: What the AP of the analysis is called.
        class_aps: What other AP is shown of the classes, and class name to its value in [0, 1].
        interval_note: What the intervals of the figures are.
        overview: Address of the page that this one is part of; "" for none.
    """

    title: str
    facts: Sequence[tuple[str, str]]
    protocol_figures: Sequence[ProtocolFigure]
    analysis: ErrorAnalysis
    rule: str = ""
    false_positive_pictures: Sequence[bytes | None] = field(default=())
    missed_pictures: Sequence[bytes | None] = field(default=())
    ap_name: str = "AP"
    class_aps: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    interval_note: str = ""
    overview: str = ""


def write_html_report(content: ReportContent, folder: str | PathLike) -> Path:
    """Write the page about one file.

    Args:
        content: What to show.
        folder: Where to write ``index.html``; made if missing.

    Returns:
        Path: the file.

    Raises:
        OSError: The file cannot be written, see also
            :func:`~tubedet.evaluation.report.page_frame.check_report_folder`.
    """
    return write_page(content.title, _body(content), folder)


def render_html(content: ReportContent) -> str:
    """Lay the page out.

    Args:
        content: What to show; every text of it is escaped.

    Returns:
        str: the whole html document.
    """
    return render_page(content.title, _body(content))


def shown_curves(classes: Sequence[ClassFigures]) -> tuple[list[ClassFigures], str]:
    """Choose the classes whose curves are drawn: the most frequent ones, best AP first.

    Args:
        classes: All with ground truth.

    Returns:
        tuple[list[ClassFigures], str]: the chosen ones, and a sentence if they are not all.
    """
    by_ap = sorted(classes, key=lambda entry: -entry.average_precision)
    chosen = sorted(by_ap, key=lambda entry: -entry.num_groundtruth)[:MAX_CURVES]
    shown = [entry for entry in by_ap if entry in chosen]
    left_out = "" if len(shown) == len(by_ap) else f" The {len(shown)} most frequent classes."
    return shown, left_out


def _body(content: ReportContent) -> str:
    # Loads matplotlib, half a second that an evaluation without a report does not wait for.
    from .figures import draw_slices

    analysis = content.analysis
    by_ap = sorted(analysis.classes, key=lambda entry: -entry.average_precision)
    with_curves, left_out = shown_curves(by_ap)
    curves = "<p>No class has ground truth.</p>"
    if with_curves:
        named = [(entry.name, f"{100 * entry.average_precision:.0f}") for entry in with_curves]
        curves = curve_drawings(named, [analysis.curves])
    back = f'<p><a href="{escape(content.overview)}">All files of this comparison</a></p>'
    ap_names = [content.ap_name, *content.class_aps]
    return _BODY.substitute(
        overview=back if content.overview else "",
        ap_name=escape(content.ap_name),
        interval_note=f"<p>{escape(content.interval_note)}</p>" if content.interval_note else "",
        facts=facts_list(tuple(content.facts)),
        protocols="\n".join(map(_protocol_row, content.protocol_figures)),
        rule=escape(content.rule),
        kinds="\n".join(_kind_rows(analysis)),
        confusion="" if analysis.confusion is None else _confusion_section(analysis.confusion),
        class_heads=sortable_heads(
            [
                "class",
                *(f"{name} in %" for name in ap_names),
                "boxes",
                "detections",
                "best recall in %",
            ],
            sorted_by=1,
        ),
        classes="\n".join(
            _class_row(entry, [aps[entry.name] for aps in content.class_aps.values()])
            for entry in by_ap
        ),
        curves=curves,
        curves_note=left_out,
        by_size=picture_tag(
            draw_slices(analysis.by_size, "area of the person's box, share of the frame"),
            "Mean AP by person size",
        ),
        by_people=picture_tag(
            draw_slices(analysis.by_people, "persons in the key frame"),
            "Mean AP by number of persons",
        ),
        false_positives=_cards(analysis.false_positives, content.false_positive_pictures, True),
        missed=_cards(analysis.missed, content.missed_pictures, False),
    )


def _protocol_row(figure: ProtocolFigure) -> str:
    mark = ' class="chosen"' if figure.chosen else ""
    value = _percent(figure.value)
    if figure.interval:
        value += f" <small>{escape(figure.interval)}</small>"
    return (
        f"<tr{mark}><td>{escape(figure.metric)}</td><td>{escape(figure.protocol)}</td>"
        f'<td class="number">{value}</td><td class="remark">{escape(figure.remark)}</td></tr>'
    )


def _kind_rows(analysis: ErrorAnalysis) -> list[str]:
    """Rows of what is right, then of each kind of error, the costliest first."""
    counts = analysis.error_kinds
    total = max(1, sum(counts.values()))
    errors = sorted(TIDE_NAMES, key=lambda kind: -analysis.gains.get(kind, 0.0))
    rows = []
    for kind in (CORRECT, *errors):
        name = f"<b>{escape(TIDE_NAMES.get(kind, kind))}</b>"
        if kind in TIDE_NAMES:
            name += f"<br><small>{escape(kind)}</small>"
        if kind == MISSED:
            boxes = "box" if analysis.num_missed == 1 else "boxes"
            found = f'<td class="number">{analysis.num_missed:,} {boxes}</td>'
        else:
            share = counts.get(kind, 0) / total
            found = gauge_cell(share, f"{counts.get(kind, 0):,} <small>{100 * share:.1f} %</small>")
        gain = analysis.gains.get(kind, math.nan)
        gained = "<td></td>" if math.isnan(gain) else gauge_cell(gain, f"+{100 * gain:.2f}")
        rows.append(f"<tr><td>{name}</td>{found}{gained}</tr>")
    return rows


def _confusion_section(matrix: ConfusionMatrix) -> str:
    from .figures import draw_confusion

    if not matrix.num_persons.any():
        return ""
    rule = (
        "Each person does one action: the most confident action that was detected on each. Shades "
        "and numbers are percent of the persons of a row."
        if matrix.exclusive
        else "A person may do several actions: which ones were detected on the persons of each "
        "class, among the best detections of every class. Shades and numbers are percent of the "
        "persons of a row; outside of the diagonal, of those among them who do not do the action "
        "of the column as well."
    )
    rows = "\n".join(
        f"<tr><td>{escape(entry.actual)}</td><td>{escape(entry.predicted)}</td>"
        f'<td class="number">{entry.count:,} of {entry.total:,}</td>'
        + gauge_cell(entry.count / entry.total, f"{100 * entry.count / entry.total:.1f}")
        + "</tr>"
        for entry in matrix.most_frequent(_MOST_CONFUSIONS)
    )
    table = (
        f'<table id="confusions"><thead><tr><th>actual</th><th>predicted instead</th>'
        f'<th class="number">persons</th><th class="number">%</th></tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table>"
    )
    return (
        f'<h2>Confusion of actions</h2>\n<p>{rule}</p>\n<div class="scroll" id="matrix">'
        f"{picture_tag(draw_confusion(matrix), 'Confusion matrix', shrinks=False)}</div>\n"
        + (table if rows else "")
    )


def _percent(fraction: float) -> str:
    return "&ndash;" if math.isnan(fraction) else f"{100 * fraction:.2f}"


def _class_row(entry: ClassFigures, other_aps: Sequence[float]) -> str:
    others = "".join(
        f'<td class="number" data-value="{-1 if math.isnan(ap) else ap:.9f}">{_percent(ap)}</td>'
        for ap in other_aps
    )
    return (
        f"<tr><td>{escape(entry.name)}</td>"
        + gauge_cell(entry.average_precision, f"{100 * entry.average_precision:.2f}")
        + others
        + f'<td class="number" data-value="{entry.num_groundtruth}">{entry.num_groundtruth:,}</td>'
        f'<td class="number" data-value="{entry.num_detections}">{entry.num_detections:,}</td>'
        f'<td class="number" data-value="{entry.best_recall:.9f}">{100 * entry.best_recall:.1f}'
        "</td></tr>"
    )


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
            shown = picture_tag(picture, where, "jpeg")
        score = f' <span class="score">{example.score:.3f}</span>' if with_score else ""
        cards.append(
            f"<figure>{shown}<figcaption><b>{escape(example.class_name)}</b>{score}<br>"
            f"{escape(example.remark)}<br>{_nearest_line(example)}"
            f'<span class="where">{escape(where)}</span>'
            "</figcaption></figure>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _nearest_line(example: Example) -> str:
    if example.nearest is None:
        return ""
    kind, what = (
        ("detection", "nearest detection")
        if example.is_groundtruth
        else ("groundtruth", "nearest person")
    )
    text = escape(example.nearest.text)
    return f'<span class="key {kind}"></span> {what}: {text}<br>'


_BODY = Template(
    """$overview
$facts
<table id="protocols">
<thead><tr><th>metric</th><th>protocol</th><th class="number">%</th><th></th></tr></thead>
<tbody>
$protocols
</tbody>
</table>
$interval_note

<h2>Kinds of errors</h2>
<p>$rule Counted are the best detections of each class, as many as it has ground-truth boxes. Beside
them stands what mean AP, in points, would gain if all errors of that kind were corrected, among all
detections, as in TIDE; the gains do not add up.</p>
<table id="kinds">
<thead><tr><th>kind</th><th class="number">best detections</th><th class="number">AP gained</th>
</tr></thead>
<tbody>
$kinds
</tbody>
</table>

$confusion

<h2>Classes</h2>
<p>Click on a heading to sort. A box with several actions counts once for each of them. The best
recall is that without any threshold.</p>
<div class="scroll"><table id="classes" class="sortable">
<thead><tr>$class_heads</tr></thead>
<tbody>
$classes
</tbody>
</table></div>

<h2>Precision and recall</h2>
<p>Precision over recall. Best classes first; beside each name its $ap_name in
percent.$curves_note</p>
$curves

<h2>Size of the person, persons in the key frame</h2>
<p>Mean AP in percent over the classes that have ground truth in the group, so the groups do not
average the same classes. By size, a detection belongs where the box it finds belongs, else where
its own size puts it.</p>
<div class="pair">$by_size$by_people</div>

<h2>Most confident false positives</h2>
<p>A few per class at most. <span class="key detection"></span> detected, <span
class="key groundtruth"></span> annotated: the detection, and the person who does the action and is
overlapped by 0.1, else the nearest one.</p>
$false_positives

<h2>Most missed positives</h2>
<p>Ground truth that none of the best detections of its class found, as many as there are boxes:
what no detection found comes first, large persons before small ones. A few per class at most. <span
class="key groundtruth"></span> annotated, <span class="key detection"></span> detected: the person,
and the detection of the action that overlaps by 0.1, else the nearest one.</p>
$missed
"""
)
