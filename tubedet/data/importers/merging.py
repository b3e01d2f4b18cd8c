"""Several files of annotations as one: persons are told apart, and overlaps are found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from tubedet.data.annotations.text import AnnotationError

from .labels import Labels, PersonBox

# Two tracks are the same person if their boxes agree so well where both files have boxes.
_SAME_PERSON_IOU = 0.7


def merge(parts: Sequence[Labels]) -> Labels:
    """Put the labels of several files together.

    Files of the same video number their persons each for itself. A person who was annotated in
    both, as in jobs of CVAT that overlap by a few frames, is one person: the tracks are matched by
    their boxes in the moments that both files have, and the later file's boxes there are left out,
    except for their actions.

    Args:
        parts: of each file.

    Returns:
        The labels of all; of a single file, those themselves.

    Raises:
        AnnotationError: if files count times or measure boxes differently.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    if any(
        (part.in_seconds, part.in_fractions) != (first.in_seconds, first.in_fractions)
        for part in parts
    ):
        raise AnnotationError(
            "the files differ in what they state, seconds or frames, pixels or fractions: "
            "import them one by one"
        )
    merged = Labels(in_seconds=first.in_seconds, in_fractions=first.in_fractions)
    videos: dict[str, dict[tuple[float, int | None], PersonBox]] = defaultdict(dict)
    anonymous: dict[PersonBox, None] = {}  # a set that keeps the order
    for part in parts:
        merged.looked_at |= part.looked_at
        merged.unclear |= part.unclear
        merged.sizes |= part.sizes
        merged.frame_rates |= part.frame_rates
        merged.start_seconds |= part.start_seconds
        merged.remarks += part.remarks
        merged.class_names += [n for n in part.class_names if n not in merged.class_names]
        anonymous |= dict.fromkeys(box for box in part.boxes if box.person_id is None)
        for video_id, boxes in _by_video(part.boxes).items():
            known = videos[video_id]
            numbers = _numbers(known, boxes)
            for box in boxes:
                key = box.time, numbers[box.person_id]
                if (twin := known.get(key)) is None:
                    known[key] = box._replace(person_id=key[1])
                else:
                    actions = tuple(dict.fromkeys(twin.actions + box.actions))
                    known[key] = twin._replace(actions=actions)
                    merged.remarks["boxes that two files have: taken once"] += 1
    merged.boxes = [box for known in videos.values() for box in known.values()]
    merged.boxes += anonymous
    return merged


def _by_video(boxes: Iterable[PersonBox]) -> dict[str, list[PersonBox]]:
    """Boxes of numbered persons."""
    videos: dict[str, list[PersonBox]] = defaultdict(list)
    for box in boxes:
        if box.person_id is not None:
            videos[box.video_id].append(box)
    return videos


def _numbers(
    known: dict[tuple[float, int | None], PersonBox], boxes: Sequence[PersonBox]
) -> dict[int | None, int]:
    """Give the persons of a further file of a video their numbers among those that are known."""
    offset = max((person for _, person in known if person is not None), default=-1) + 1
    persons = sorted({box.person_id for box in boxes if box.person_id is not None})
    numbers: dict[int | None, int] = {person: person + offset for person in persons}
    earlier: dict[float, list[PersonBox]] = defaultdict(list)
    for (time, _), box in known.items():
        earlier[time].append(box)
    overlaps: dict[tuple[int, int], list[float]] = defaultdict(list)
    for box in boxes:
        for other in earlier.get(box.time, ()):
            assert box.person_id is not None and other.person_id is not None
            overlaps[box.person_id, other.person_id].append(_iou(box.box, other.box))
    others = sorted({other for _, other in overlaps})
    scores = np.zeros((len(persons), len(others)))
    for (person, twin), values in overlaps.items():
        scores[persons.index(person), others.index(twin)] = np.mean(values)
    for row, column in zip(*linear_sum_assignment(scores, maximize=True)):
        if scores[row, column] >= _SAME_PERSON_IOU:
            numbers[persons[row]] = others[column]
    return numbers


def _iou(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area - width * height)
