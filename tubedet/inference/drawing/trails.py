"""The ways of tracked persons over the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np


class Trails:
    """Remembers where persons stood: the middle of the lower edge of their boxes.

    Args:
        seconds: how far back.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._ways: dict[int, deque[tuple[float, np.ndarray]]] = {}

    def add(self, time: float, persons: Iterable[tuple[int, np.ndarray]]) -> dict[int, np.ndarray]:
        """Add the persons of the next frame.

        Args:
            time: of the frame, seconds.
            persons: ids, and boxes (4,) XYXY in any unit.

        Returns:
            id to points (n, 2) in that unit, the oldest first, of these persons. A person who was
            away for longer than the trail is long begins anew.
        """
        shown = {}
        for person_id, box in persons:
            way = self._ways.setdefault(person_id, deque())
            way.append((time, np.array([(box[0] + box[2]) / 2, box[3]], dtype=float)))
            shown[person_id] = way
        for person_id, way in list(self._ways.items()):
            while way and way[0][0] < time - self.seconds:
                way.popleft()
            if not way:
                del self._ways[person_id]
        return {person_id: np.stack([p for _, p in way]) for person_id, way in shown.items()}
