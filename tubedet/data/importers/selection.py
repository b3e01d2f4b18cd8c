"""From the labels of a format to the rows of a data set: which actions, which moments."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tubedet.data.annotations.text import AnnotationError

from .labels import Labels, Moment, PersonBox, is_box, is_video_name

_LARGEST = 10**7  # number of a frame, or second
_MOST_LINES = 3  # about the same thing
_LARGEST_ID = 2**53  # the csv is read as floating point


@dataclass
class Selection:
    """What a data set is written from.

    Attributes:
        labels: the chosen boxes, each with one action or more.
        empty: moments that hold nobody.
        classes: A names; the first one has id 1.
        remarks: one line for each thing that a user should know.
    """

    labels: Labels
    empty: set[Moment]
    classes: list[str]
    remarks: list[str] = field(default_factory=list)


def select(
    labels: Labels,
    *,
    classes: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    every: int = 1,
) -> Selection:
    """Choose actions and moments, and check what is chosen.

    A person who does nothing of what is chosen has no row. A moment with such a person only is not
    a moment with nobody, so it has no row at all.

    Args:
        labels: of one file or of several.
        classes: names of the actions in the order of their ids; boxes of other ones are counted and
            left out. None: those of the files, in the order that these state, else of the alphabet.
        ignore: labels that are no actions.
        every: keep every so many-th of a video's moments, from its first one on.

    Returns:
        What is to be written, and remarks.

    Raises:
        AnnotationError: if a box or a time cannot be used, or a person does the same in two boxes.
    """
    remarks = [f"{text} ({count})" for text, count in labels.remarks.items()]
    _check(labels)
    counts = Counter(name for box in labels.boxes for name in box.actions if name.strip())
    remarks += [f"--ignore {name}: no label has this name" for name in ignore if not counts[name]]
    if classes is None:
        stated = labels.class_names or sorted(counts)
        classes = list(dict.fromkeys([*stated, *sorted(counts)]))
        classes = [name for name in classes if name not in ignore]
    else:
        others = {n: counts[n] for n in sorted(counts) if n not in classes and n not in ignore}
        if others:
            listed = ", ".join(f"{name} ({count} boxes)" for name, count in others.items())
            remarks.append(f"not among --classes, left out: {listed}")

    moments = {box.moment for box in labels.boxes} | labels.looked_at
    kept = _every(moments, every)
    if every > 1:
        remarks.append(f"--every {every}: {len(kept)} of {len(moments)} annotated frames are kept")
    chosen = set(classes)
    boxes, without, cut = [], 0, 0
    outside: list[PersonBox] = []
    for box in labels.boxes:
        if box.moment not in kept:
            continue
        actions = tuple(name for name in dict.fromkeys(box.actions) if name in chosen)
        if not actions:
            without += 1
            continue
        inside = _cut(box, labels)
        if not is_box(inside):
            outside.append(box)
            continue
        cut += inside != box.box
        boxes.append(box._replace(actions=actions, box=inside))
    found = {name for box in boxes for name in box.actions}
    without_box = [name for name in classes if name not in found]
    if len(without_box) <= _MOST_LINES:
        remarks += [f"no box has the action {name!r}" for name in without_box]
    else:
        remarks.append(f"no box has these {len(without_box)} actions: {', '.join(without_box)}")
    if without:
        remarks.append(f"persons without an action are left out ({without} boxes)")
    if cut:
        remarks.append(f"boxes that reach beyond the frame are cut ({cut})")
    if outside:
        remarks.append(
            f"boxes outside of the frame are left out ({len(outside)}), the first in "
            f"{_place(outside[0], labels)}: {_text(outside[0])}"
        )
    return Selection(
        Labels(
            boxes=boxes,
            in_seconds=labels.in_seconds,
            in_fractions=labels.in_fractions,
            start_seconds=labels.start_seconds,
        ),
        labels.empty & kept,
        list(classes),
        remarks,
    )


def _check(labels: Labels) -> None:
    """Refuse boxes and times that no video has, and a person who is in two places."""
    known: dict[tuple, PersonBox] = {}
    for box in labels.boxes:
        if not is_box(box.box):
            raise AnnotationError(f"{_place(box, labels)}: {_text(box)} is no box")
        if box.person_id is None:
            if not labels.in_seconds:
                raise AnnotationError(f"{_place(box, labels)}: a person without a number")
            continue
        if not 0 <= box.person_id < _LARGEST_ID:
            raise AnnotationError(
                f"{_place(box, labels)}: the person has the number {box.person_id}, expected one "
                f"from 0 to {_LARGEST_ID}"
            )
        for action in box.actions:
            twin = known.setdefault((*box.moment, box.person_id, action), box)
            if twin.box != box.box:
                raise AnnotationError(
                    f"{_place(box, labels)}: person {box.person_id} does {action!r} in two boxes, "
                    f"{_text(twin)} and {_text(box)}"
                )
    for video_id, time in {box.moment for box in labels.boxes} | labels.looked_at:
        if not is_video_name(video_id):
            raise AnnotationError(f"{video_id[:80]!r} is no name of a video")
        lowest = 0 if labels.in_seconds else 1
        whole = labels.in_seconds or time % 1 == 0
        if not (math.isfinite(time) and lowest <= time < _LARGEST and whole):
            kind = "second" if labels.in_seconds else "frame"
            raise AnnotationError(f"video {video_id!r}: there is no {kind} {time:g}")


def _every(moments: set[Moment], step: int) -> set[Moment]:
    """Every ``step``-th moment of each video."""
    kept: set[Moment] = set()
    seen: Counter[str] = Counter()
    for moment in sorted(moments):
        if seen[moment[0]] % step == 0:
            kept.add(moment)
        seen[moment[0]] += 1
    return kept


def _cut(box: PersonBox, labels: Labels) -> tuple[float, float, float, float]:
    """Cut a box to the frame, as far as its size is known."""
    unknown = (math.inf, math.inf)
    width, height = (1, 1) if labels.in_fractions else labels.sizes.get(box.video_id, unknown)
    x1, y1, x2, y2 = box.box
    return max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)


def _place(box: PersonBox, labels: Labels) -> str:
    kind = "second" if labels.in_seconds else "frame"
    return f"video {box.video_id!r}, {kind} {box.time:g}"


def _text(box: PersonBox) -> str:
    return ", ".join(f"{value:.7g}" for value in box.box)
