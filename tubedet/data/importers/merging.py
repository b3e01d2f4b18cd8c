"""Several files of annotations as one: persons are told apart, and overlaps are found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TypeVar

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torchvision.ops import box_iou

from tubedet.data.annotations.text import AnnotationError

from .labels import Box, Labels, Moment, PersonBox

# Boxes, and tracks where both files have boxes, are the same person if they agree so well.
_SAME_PERSON_IOU = 0.7
_TAKEN_ONCE = "boxes that two files have: taken once"
_Value = TypeVar("_Value")


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
        AnnotationError: if files count times or measure boxes differently, or tell other sizes or
            beginnings of a video.
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
    tracked: dict[str, _Tracks] = defaultdict(_Tracks)
    untracked = _Untracked()
    for part in parts:
        merged.looked_at |= part.looked_at
        merged.unclear |= part.unclear
        _add(merged.sizes, part.sizes, "its size")
        _add(merged.frame_rates, part.frame_rates, "its frame rate")
        _add(merged.start_seconds, part.start_seconds, "the second at which it begins")
        merged.remarks += part.remarks
        merged.class_names += [n for n in part.class_names if n not in merged.class_names]
        merged.remarks[_TAKEN_ONCE] += untracked.add(b for b in part.boxes if b.person_id is None)
        for video_id, boxes in _by_video(part.boxes).items():
            merged.remarks[_TAKEN_ONCE] += tracked[video_id].add(boxes)
    lists = chain(*(tracks.boxes.values() for tracks in tracked.values()), untracked.boxes.values())
    merged.boxes = list(chain.from_iterable(lists))
    merged.remarks = +merged.remarks  # without zeros
    return merged


def _add(known: dict[str, _Value], further: dict[str, _Value], what: str) -> None:
    for video_id, value in further.items():
        if known.setdefault(video_id, value) != value:
            raise AnnotationError(
                f"video {video_id!r}: the files differ in {what}, {known[video_id]} and {value}"
            )


def _by_video(boxes: Iterable[PersonBox]) -> dict[str, list[PersonBox]]:
    """Boxes of numbered persons."""
    videos: dict[str, list[PersonBox]] = defaultdict(list)
    for box in boxes:
        if box.person_id is not None:
            videos[box.video_id].append(box)
    return videos


class _Tracks:
    """The numbered persons of a video.

    Attributes:
        boxes: by time and number; mostly one, but a file may have one for each action.
    """

    def __init__(self) -> None:
        self.boxes: dict[tuple[float, int], list[PersonBox]] = {}

    def add(self, boxes: Sequence[PersonBox]) -> int:
        """Add those of a further file; return how many were there already."""
        later: dict[int, dict[float, Box]] = defaultdict(dict)
        for box in boxes:
            later[_number(box)].setdefault(box.time, box.box)
        agreeing = self._agreeing(later)
        numbers = self._numbers(later, agreeing)
        taken = {(time, numbers[person]) for person, times in later.items() for time in times}
        others: dict[int, list[int]] = defaultdict(list)
        for person, other in agreeing:
            others[person].append(other)
        fresh: dict[tuple[float, int], list[PersonBox]] = defaultdict(list)
        for box in boxes:
            person = _number(box)
            key = box.time, numbers[person]
            if key not in self.boxes:
                # This track may be that of a person who has two in the other file.
                keys = ((box.time, other) for other in others[person])
                free = (k for k in keys if k in self.boxes and k not in taken)
                key = next((k for k in free if self._is_near(k, box)), key)
            if key in self.boxes:
                _add_actions(self.boxes[key], box.actions)
            else:
                fresh[key].append(box._replace(person_id=key[1]))
        self.boxes |= fresh
        return len(boxes) - sum(map(len, fresh.values()))

    def _is_near(self, key: tuple[float, int], box: PersonBox) -> bool:
        return bool(_overlaps([self.boxes[key][0].box], [box.box])[0, 0] >= _SAME_PERSON_IOU)

    def _agreeing(self, later: Mapping[int, Mapping[float, Box]]) -> dict[tuple[int, int], float]:
        """Pairs of a later person and an earlier one who may be the same, and how strongly."""
        here: dict[float, list[int]] = defaultdict(list)
        there: dict[float, list[int]] = defaultdict(list)
        for person, times in later.items():
            for time in times:
                here[time].append(person)
        common: dict[int, set[float]] = defaultdict(set)
        for time, number in self.boxes:
            if time in here:
                there[time].append(number)
                common[number].add(time)
        sums: dict[tuple[int, int], float] = defaultdict(float)
        for time, known in there.items():
            persons = here[time]
            overlaps = _overlaps(
                [later[person][time] for person in persons],
                [self.boxes[time, number][0].box for number in known],
            )
            for row, column in zip(*(axis.tolist() for axis in np.nonzero(overlaps))):
                sums[persons[row], known[column]] += float(overlaps[row, column])
        return {
            (person, number): total
            for (person, number), total in sums.items()
            if total >= _SAME_PERSON_IOU * len(common[number] & later[person].keys())
        }

    def _numbers(
        self,
        later: Mapping[int, Mapping[float, Box]],
        agreeing: Mapping[tuple[int, int], float],
    ) -> dict[int, int]:
        """Give the persons of a further file their numbers among those that are known."""
        if not self.boxes:
            return {person: person for person in later}
        numbers = _pair(agreeing)
        times: dict[int, set[float]] = defaultdict(set)
        for person, number in numbers.items():
            times[number] |= later[person].keys()
        # A person whom the other file lost and found again has several tracks there.
        for person, number in sorted(agreeing, key=lambda pair: (-agreeing[pair], pair)):
            if person not in numbers and times[number].isdisjoint(later[person]):
                numbers[person] = number
                times[number] |= later[person].keys()
        free = max(number for _, number in self.boxes) + 1
        return {person: numbers.get(person, free + person) for person in later}


class _Untracked:
    """Persons whose number no file tells.

    Attributes:
        boxes: by moment.
    """

    def __init__(self) -> None:
        self.boxes: dict[Moment, list[PersonBox]] = defaultdict(list)

    def add(self, boxes: Iterable[PersonBox]) -> int:
        """Add those of a further file; return how many were there already."""
        moments: dict[Moment, dict[Box, list[PersonBox]]] = defaultdict(dict)
        for box in boxes:
            _add_actions(moments[box.moment].setdefault(box.box, [box]), box.actions)
        doubles = 0
        for moment, found in moments.items():
            known, persons = self.boxes[moment], [same[0] for same in found.values()]
            twins = {}
            if known:
                overlaps = _overlaps([p.box for p in persons], [p.box for p in known])
                overlaps[overlaps < _SAME_PERSON_IOU] = 0
                rows, columns = linear_sum_assignment(overlaps, maximize=True)
                twins = {r: c for r, c in zip(rows, columns) if overlaps[r, c] > 0}
            for row, column in twins.items():
                same = [known[column]]
                _add_actions(same, persons[row].actions)
                known[column] = same[0]
            known += [person for row, person in enumerate(persons) if row not in twins]
            doubles += len(twins)
        return doubles


def _number(box: PersonBox) -> int:
    assert box.person_id is not None
    return box.person_id


def _add_actions(boxes: list[PersonBox], actions: Iterable[str]) -> None:
    """Let a person do more; its boxes, one or one for each action, stay."""
    known = {action for box in boxes for action in box.actions}
    further = tuple(action for action in dict.fromkeys(actions) if action not in known)
    boxes[0] = boxes[0]._replace(actions=boxes[0].actions + further)


def _overlaps(a: Sequence[Box], b: Sequence[Box]) -> np.ndarray:
    """Return (A, B) intersections over unions."""
    boxes = (torch.tensor(part, dtype=torch.float64) for part in (a, b))
    return box_iou(*boxes).nan_to_num().numpy()


def _pair(agreeing: Mapping[tuple[int, int], float]) -> dict[int, int]:
    """Pair later persons with earlier ones so that the sum of agreement is largest."""
    if not agreeing:
        return {}
    rows, columns = (np.unique(side, return_inverse=True)[1] for side in np.array(list(agreeing)).T)
    columns += rows.max() + 1
    size = columns.max() + 1
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    groups: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for pair, group in zip(agreeing, connected_components(graph, directed=False)[1][rows]):
        groups[group].append(pair)
    paired = {}
    for pairs in groups.values():  # almost always one pair
        persons, numbers = (sorted(set(side)) for side in zip(*pairs))
        scores = [[agreeing.get((p, n), 0.0) for n in numbers] for p in persons]
        for row, column in zip(*linear_sum_assignment(scores, maximize=True)):
            if scores[row][column]:
                paired[persons[row]] = numbers[column]
    return paired
