"""Where tracked persons may be on a frame, for hiding them."""

from __future__ import annotations

import numpy as np
from detectron2.structures import Instances

from .tracked_frames import TrackedFrame

# Of the way between two key frames, by which a person may be off the straight line half way.
_OFF_THE_LINE = 0.25
# The id of a person, and a number that tells boxes of one id apart.
_Key = tuple[int, int]


class PossibleBoxes:
    """Boxes of everybody who is tracked, with more of them than is drawn.

    Drawings show a person who is in one of two key frames alone for half of the time between
    them. Here such a person is there all the time, and for the next ``max_missed`` key frames in
    which nobody with that id is found, in the last box. Boxes on the way between two key frames get
    larger, for people who do not walk evenly.

    One object follows one video.

    Args:
        max_missed: that of the :class:`.PersonTracker`.
    """

    def __init__(self, max_missed: int):
        self.max_missed = max_missed
        # The number of the key frame in which somebody was last seen, and the box (4,) there.
        self._last: dict[_Key, tuple[int, np.ndarray]] = {}

    def on(self, tracked: TrackedFrame) -> np.ndarray:
        """Return the boxes of the next frame, (N, 4) XYXY as fractions of the frame.

        Args:
            tracked: of :func:`.tracked_frames`, all of them in order.
        """
        frame = tracked.frame
        before = _boxes(tracked.around[0])
        after = _boxes(tracked.around[-1]) if frame.after is not None else {}
        # Of one who was lost at this key frame or up to max_missed ones ago.
        held = [
            box
            for key, (index, box) in self._last.items()
            if key not in before
            and key not in after
            and frame.before.index - index <= self.max_missed
        ]
        for key, box in before.items():
            self._last[key] = (frame.before.index, box)
        self._last = {
            key: last
            for key, last in self._last.items()
            if frame.before.index - last[0] <= self.max_missed
        }
        fraction = 0.0
        if frame.after is not None and frame.after.time > frame.before.time:
            fraction = (frame.time - frame.before.time) / (frame.after.time - frame.before.time)
            fraction = min(max(fraction, 0.0), 1.0)
        for key, box in before.items():
            end = after.pop(key, box)
            slack = _OFF_THE_LINE * 4 * fraction * (1 - fraction) * np.abs(end - box)
            slack = np.maximum(slack[:2], slack[2:])
            between = box + fraction * (end - box)
            held.append(between + np.concatenate([-slack, slack]))
        held.extend(after.values())
        return np.array(held).reshape(-1, 4)


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
