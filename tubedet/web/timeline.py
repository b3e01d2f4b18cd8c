"""A picture of who does what when: a row per person and action, as SVG."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from tubedet.inference.action_intervals import ActionSpan, add_to_spans

# Pixels of the picture, which is scaled to the width of the page.
_WIDTH, _LABEL_WIDTH, _ROW_HEIGHT, _AXIS_HEIGHT = 1000, 190, 24, 26
_TICK_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600)
_MAX_TICKS = 10
# Shows the moment of the bar that was clicked, or that Enter or Space was pressed on.
_SEEK = (
    "if (event.type === 'keydown' && event.key !== 'Enter' && event.key !== ' ') return;"
    "const start = event.target.closest('[data-start]')?.dataset.start;"
    "const video = document.querySelector('{video}');"
    "if (start && video) {{ video.currentTime = start; event.preventDefault(); }}"
)


def action_spans(
    key_frames: Iterable[Mapping], *, every: float, duration: float, threshold: float
) -> dict[int, dict[str, list[ActionSpan]]]:
    """Who does what when.

    Args:
        key_frames: in order, as in the json lines that
            :func:`tubedet.inference.write_video_results` writes.
        every: seconds between key frames.
        duration: of the video, seconds.
        threshold: lowest score of an action.

    Returns:
        Spans by person id and name of the action. Persons come as they appear, the actions of a
        person by the total length of their spans, long ones first. Persons without any action are
        left out.
    """
    found: dict[int, dict[str, list[ActionSpan]]] = defaultdict(lambda: defaultdict(list))
    for key_frame in key_frames:
        for person in key_frame["persons"]:
            for action in person["actions"]:
                if action["score"] >= threshold:
                    add_to_spans(
                        found[person["id"]][action["name"]],
                        key_frame["time"],
                        action["score"],
                        every=every,
                        duration=duration,
                    )
    result = {}
    for person_id, spans in found.items():
        longest = sorted(spans, key=lambda name: -sum(s.end - s.start for s in spans[name]))
        result[person_id] = {name: spans[name] for name in longest}
    return result


def draw_timeline(
    spans: Mapping[int, Mapping[str, list[ActionSpan]]],
    *,
    duration: float,
    color: Callable[[int], str],
    video_selector: str = "video",
) -> str:
    """Draw a row per person and action; the stronger a bar's colour, the higher its score.

    Args:
        spans: see :func:`action_spans`.
        duration: of the video, seconds.
        color: gives the CSS colour of a person id.
        video_selector: CSS selector of the video that a click on a bar takes to its start.

    Returns:
        str: an ``<svg>`` element that loads nothing; text has the colour of the page's text.
    """
    scale = (_WIDTH - _LABEL_WIDTH - 20) / max(duration, 1e-6)
    rows, y = [], _AXIS_HEIGHT
    for person_id, actions in spans.items():
        rows.append(
            f'<rect x="0" y="{y + 5}" width="14" height="14" rx="3" fill="{color(person_id)}"/>'
            f'<text x="22" y="{y + 17}" font-weight="600">Person #{person_id}</text>'
        )
        for name, of_action in actions.items():
            y += _ROW_HEIGHT
            rows.append(_action_row(name, of_action, y, scale, color(person_id)))
        y += _ROW_HEIGHT + 8
    height = y + 6
    script = html.escape(_SEEK.format(video=video_selector.replace("'", '"')))
    return (
        f'<svg class="timeline" role="group" aria-label="Actions of each person over time" '
        f'viewBox="0 0 {_WIDTH} {height}" width="100%" font-size="13" fill="currentColor" '
        f'onclick="{script}" onkeydown="{script}">'
        f"{_axis(duration, scale, height)}{''.join(rows)}</svg>"
    )


def _action_row(name: str, spans: list[ActionSpan], y: float, scale: float, color: str) -> str:
    label = name if len(name) <= 25 else f"{name[:24]}…"
    text = f'<text x="22" y="{y + 16}">{html.escape(label)}'
    text += f"<title>{html.escape(name)}</title></text>"
    return text + "".join(_bar(name, span, y, scale, color) for span in spans)


def _bar(name: str, span: ActionSpan, y: float, scale: float, color: str) -> str:
    said = (
        f"{html.escape(name)}, {_clock(span.start)} to {_clock(span.end)}, "
        f"score up to {span.score:.2f}"
    )
    return (
        f'<rect x="{_LABEL_WIDTH + span.start * scale:.2f}" y="{y + 3}" '
        f'width="{max((span.end - span.start) * scale, 2):.2f}" height="{_ROW_HEIGHT - 6}" rx="4" '
        f'fill="{color}" fill-opacity="{0.25 + 0.75 * min(span.score, 1):.2f}" '
        f'data-start="{span.start:.3f}" style="cursor: pointer" tabindex="0" role="button" '
        f'aria-label="{said}"><title>{said}</title></rect>'
    )


def _axis(duration: float, scale: float, height: float) -> str:
    step = next((step for step in _TICK_STEPS if duration / step <= _MAX_TICKS), _TICK_STEPS[-1])
    ticks = []
    for number in range(int(duration / step + 1e-6) + 1):
        x = _LABEL_WIDTH + number * step * scale
        ticks.append(
            f'<line x1="{x:.2f}" x2="{x:.2f}" y1="{_AXIS_HEIGHT - 6}" y2="{height}" '
            'stroke="currentColor" stroke-opacity="0.15"/>'
            f'<text x="{x:.2f}" y="14" text-anchor="middle" fill-opacity="0.7">'
            f"{_clock(number * step)}</text>"
        )
    return "".join(ticks)


def _clock(seconds: float) -> str:
    """Minutes and seconds, with tenths where there are some."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    return f"{minutes}:{rest // 10:02d}" + (f".{rest % 10}" if rest % 10 else "")
