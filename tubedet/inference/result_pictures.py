"""Results as pictures and as html for notebooks."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from tubedet.data.video.container import VideoError

from .action_intervals import key_frame_span
from .action_names import short_action_names
from .counted_nouns import counted
from .drawing import ActionVisualizer
from .drawing.action_visualizer import identity_colour
from .result_tables import person_actions, person_ids

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .key_frame_results import KeyFrameResult
    from .whole_video import VideoResult

_LONGEST_SIDE = 640  # pixels of a picture in a notebook
_JPEG_QUALITY = 80
_MAX_TABLE_ROWS = 20
_MAX_TABLE_ACTIONS = 4


def draw_key_frame(
    result: KeyFrameResult,
    image: np.ndarray,
    *,
    score_threshold: float | None = None,
    person_threshold: float | None = None,
    max_actions: int = 4,
) -> np.ndarray:
    """Draw the persons of a key frame; arguments are those of :meth:`KeyFrameResult.plot`."""
    persons = result.persons(person_threshold)
    explained = result.video.explained if result.video else ()
    visualizer = ActionVisualizer(
        result.action_names,
        max_actions=max_actions,
        explained=explained if persons.has("action_attention") else (),
        caption=result.video.caption if result.video else None,
    )
    shown_score = result.shown_score(score_threshold)
    return visualizer.draw_detections(image, persons, score_threshold=shown_score)


def key_frame_html(result: KeyFrameResult) -> str:
    """Show a key frame: a picture, where there is one, and its persons.

    Args:
        result: of the key frame.

    Returns:
        html that loads nothing.
    """
    persons = result.persons()
    actions: dict[int, list[tuple[str, float]]] = {row: [] for row in range(len(persons))}
    names = short_action_names(result.action_names)
    for row, action, score in person_actions(persons, result.shown_score(), _MAX_TABLE_ACTIONS):
        actions[row].append((names[action], score))
    has_ids = persons.has("person_ids")
    rows = [
        (f"#{person_id}" if has_ids else "", f"{score:.2f}", _action_text(actions[row]))
        for row, (person_id, score) in enumerate(zip(person_ids(persons), persons.scores.tolist()))
    ]
    name = f"{result.video.name}, " if result.video else ""
    title = f"{name}{result.time:.3f} s: {counted(len(persons), 'person')}"
    return _page(title, _picture(result), _table(("person", "score", "actions"), rows))


def video_html(result: VideoResult) -> str:
    """Show a video: the key frame where most is seen, and a table of the persons.

    Args:
        result: of the video.

    Returns:
        html that loads nothing.
    """
    rows = []
    tracks = result.tracks()
    names = dict(zip(result.action_names, short_action_names(result.action_names)))
    for track in sorted(tracks, key=len, reverse=True):
        actions = list(track.actions(result.video.score_threshold).items())[:_MAX_TABLE_ACTIONS]
        actions = [(names[name], score) for name, score in actions]
        times = f"{track.start:.1f} to {track.end:.1f}", str(len(track))
        rows.append((f"#{track.person_id}", *times, _action_text(actions)))
    title = f"{result.video.name}: {counted(len(result), 'key frame')}"
    if result:
        title += f" from {result[0].time:.1f} to {result[-1].time:.1f} s"
    title += f", {counted(len(tracks), 'person')}"
    picture = ""
    if result:
        shown = max(result, key=lambda r: len(person_actions(r.persons(), r.shown_score())))
        picture = _picture(shown)
    heads = ("person", "seconds", "key frames", "actions, highest scores")
    return _page(title, picture, _table(heads, rows))


def draw_timeline(
    result: VideoResult, axes: Axes | None, *, score_threshold: float | None, max_rows: int
) -> Axes:
    """Draw who does what when; arguments are those of :meth:`VideoResult.plot`."""
    if axes is None:
        from matplotlib import pyplot

        axes = pyplot.figure(layout="constrained").add_subplot()
    bars: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for key_frame in result:
        persons = key_frame.instances
        ids = person_ids(persons)
        for row, action, score in person_actions(persons, key_frame.shown_score(score_threshold)):
            bars.setdefault((ids[row], action), []).append((key_frame.time, score))
    longest = sorted(bars, key=lambda row: len(bars[row]), reverse=True)[:max_rows]
    names = short_action_names(result.action_names)
    for number, (person_id, action) in enumerate(sorted(longest)):
        times, scores = zip(*bars[person_id, action])
        limits = [_limits(result, time) for time in times]
        spans = [(start, end - start) for start, end in limits]
        colours = [(*identity_colour(person_id), 0.2 + 0.8 * min(score, 1.0)) for score in scores]
        axes.broken_barh(spans, (number - 0.4, 0.8), facecolors=colours)
    axes.set_yticks(range(len(longest)), [f"#{i} {names[action]}" for i, action in sorted(longest)])
    axes.set_ylim(max(len(longest), 1) - 0.5, -0.5)
    if result:
        axes.set_xlim(_limits(result, result[0].time)[0], _limits(result, result[-1].time)[1])
    axes.set_xlabel("seconds")
    caption = f" ({result.video.caption})" if result.video.caption else ""
    axes.set_title(result.video.name + caption, parse_math=False)
    return axes


def _limits(result: VideoResult, time: float) -> tuple[float, float]:
    return key_frame_span(time, every=result.every, duration=result.video.duration)


def _picture(result: KeyFrameResult) -> str:
    """Return the key frame, drawn, as an element of html; in its place, why there is none."""
    try:
        image = result.read_image()
    except VideoError as error:
        return f"<p>No picture: {html.escape(str(error))}</p>"
    factor = _LONGEST_SIDE / max(image.shape[:2])
    if factor < 1:  # before drawing, which keeps labels readable
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    drawing = cv2.cvtColor(draw_key_frame(result, image), cv2.COLOR_RGB2BGR)
    is_done, jpeg = cv2.imencode(".jpg", drawing, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert is_done
    content = base64.b64encode(jpeg).decode("ascii")
    return (
        f'<img src="data:image/jpeg;base64,{content}" width="{drawing.shape[1]}" '
        f'height="{drawing.shape[0]}" style="max-width: 100%; height: auto" '
        f'alt="Key frame at {result.time:.3f} seconds with the boxes of its persons">'
    )


def _page(title: str, *parts: str) -> str:
    return f"<div><p><b>{html.escape(title)}</b></p>{''.join(parts)}</div>"


def _table(heads: Sequence[str], rows: Sequence[Iterable[str]]) -> str:
    """Return rows of text, the first ones, as an element of html."""
    if not rows:
        return ""
    lines = ["".join(f"<th>{html.escape(head)}</th>" for head in heads)]
    for row in rows[:_MAX_TABLE_ROWS]:
        lines.append("".join(f"<td>{html.escape(cell)}</td>" for cell in row))
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    more = len(rows) - _MAX_TABLE_ROWS
    return f"<table>{body}</table>" + (f"<p>and {more} more</p>" if more > 0 else "")


def _action_text(actions: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name} {score:.2f}" for name, score in actions)
