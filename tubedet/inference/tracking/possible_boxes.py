"""Where tracked persons may be on a frame, for hiding them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from detectron2.structures import Instances

from .tracked_frames import TrackedFrame

# Of the way between two sightings, by which a person may be off the straight line half way.
_OFF_THE_LINE = 0.25
# The id of a person, and a number that tells boxes of one id apart.
_Key = tuple[int, int]


class _Sighting(NamedTuple):
    """Somebody at a key frame: its number and time, the box (4,), and its change per second."""

    number: int
    time: float
    box: np.ndarray
    velocity: np.ndarray


class PossibleBoxes:
    """Boxes of everybody who is tracked; they cover more than those that are drawn.

    A drawing shows a person who is in one of two key frames alone for half of the time between
    them. Here such a person is there all the time, and for the next ``max_missed`` key frames in
    which nobody with that id is found: from the last box as far as the person gets with the speed
    of before, and on the way to the place where the person is found again. Boxes on the way from
    one sighting to the next get larger, for people who do not walk evenly.

    One object follows one video.

    Args:
        max_missed: that of the :class:`.PersonTracker`.
    """

    def __init__(self, max_missed: int):
        self.max_missed = max_missed
        self._last: dict[_Key, _Sighting] = {}

    def on(self, tracked: TrackedFrame) -> np.ndarray:
        """Return the boxes of the next frame, (N, 4) XYXY as fractions of the frame.

        Args:
            tracked: of :func:`.tracked_frames`, all of them in order.
        """
        before, after = tracked.frame.before, tracked.frame.after
        self._remember(before.index, before.time, _boxes(tracked.around[0]))
        coming = {} if after is None else _boxes(tracked.around[-1])
        boxes = []
        for key, seen in self._last.items():
            passed = max(tracked.frame.time - seen.time, 0.0)
            box = coming.pop(key, None)
            if box is not None and after is not None and after.time > seen.time:
                fraction = min(passed / (after.time - seen.time), 1.0)
                way = box - seen.box
                part = seen.box + fraction * way
                slack = _OFF_THE_LINE * 4 * fraction * (1 - fraction) * np.abs(way)
            else:
                way = passed * seen.velocity
                ahead = seen.box + way
                part = np.concatenate(
                    [np.minimum(seen.box, ahead)[:2], np.maximum(seen.box, ahead)[2:]]
                )
                slack = _OFF_THE_LINE * np.abs(way)
            slack = np.maximum(slack[:2], slack[2:])
            boxes.append(part + np.concatenate([-slack, slack]))
        boxes.extend(coming.values())
        return np.array(boxes).reshape(-1, 4)

    def _remember(self, index: int, time: float, boxes: dict[_Key, np.ndarray]) -> None:
        for key, box in boxes.items():
            last = self._last.get(key)
            if last is None or last.number < index:
                velocity = np.zeros(4)
                if last is not None and time > last.time:
                    velocity = (box - last.box) / (time - last.time)
                self._last[key] = _Sighting(index, time, box, velocity)
        self._last = {
            key: seen for key, seen in self._last.items() if index - seen.number <= self.max_missed
        }


def _boxes(persons: Instances) -> dict[_Key, np.ndarray]:
    height, width = persons.image_size
    boxes = persons.pred_boxes.tensor.numpy() / np.array([width, height, width, height])
    found: dict[_Key, np.ndarray] = {}
    for person_id, box in zip(persons.person_ids.tolist(), boxes):
        number = 0
        while (person_id, number) in found:
            number += 1
        found[person_id, number] = box
    return found
