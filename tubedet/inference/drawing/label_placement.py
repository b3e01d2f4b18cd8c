"""Places of labels: near their boxes, clear of other labels and, if possible, of persons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Costs. Covering a label costs more than any way; the others are shares of the label's area, or
# distances in heights of the label.
_ON_LABEL = 1000.0
_ON_OTHER_PERSON = 1.5
_ON_OTHER_HEAD = 3.0  # on top of that
_ON_OWN_PERSON = 0.3
_OWN_PERSON_HIDDEN = 1.0  # of the area of the own box
_BELOW_TOP = 0.5  # at the foot of the own box, in proportion at places between
_AT_SIDE = 0.4
_ACROSS_TOP = 0.1  # partly above the own box
_SHIFTED = 0.2  # per width of the label, from the left side of the box
# A label stays where it was on the last frame while no other place is better by this much.
_STEADINESS = 0.3
_HEAD = 1 / 3  # of the height of a box


def place_label(
    size: Sequence[int],
    box: np.ndarray,
    frame_size: Sequence[int],
    *,
    labels: Sequence[np.ndarray] = (),
    others: Sequence[np.ndarray] = (),
    last: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Find the best place of a label.

    A label in a free place can be slid to the left and upwards until it meets the edge of another
    one or of the frame, so trying all these edges finds a free place wherever there is one. Edges
    of boxes are tried, too. The place wins that is near the own box, above it if possible, and
    covers little of other persons, least of all their heads.

    Args:
        size: (width, height) of the label, pixels, at most those of the frame.
        box: XYXY in pixels, of the person.
        frame_size: (width, height), pixels.
        labels: XYXY of labels that have their places.
        others: XYXY of the other persons.
        last: label and box of this person on the last frame, XYXY.

    Returns:
        XYXY in whole pixels, float array (4,), inside of the frame.
    """
    box = np.round(np.asarray(box, dtype=float))
    taken = np.asarray(labels, dtype=float).reshape(-1, 4)
    persons = np.asarray(others, dtype=float).reshape(-1, 4)
    heads = persons.copy()
    heads[:, 3] = persons[:, 1] + _HEAD * (persons[:, 3] - persons[:, 1])
    own_area = max(float(np.prod(box[2:] - box[:2])), 1.0)
    on_own = _ON_OWN_PERSON + _OWN_PERSON_HIDDEN * size[0] * size[1] / own_area
    weights = np.repeat(
        [on_own, _ON_LABEL, _ON_OTHER_PERSON, _ON_OTHER_HEAD],
        [1, len(taken), len(persons), len(heads)],
    )
    obstacles = np.concatenate([box[None], taken, persons, heads])
    edges = np.concatenate([box[None], np.round(taken), np.round(persons)])
    starts, spans, gaps, steady = [], [], [], []
    for axis in (0, 1):
        length, limit = size[axis], frame_size[axis] - size[axis]
        low, high = edges[:, axis], edges[:, axis + 2]
        places = [[0, limit], low, high, low - length, high - length]
        if last is not None:
            steady.append(_as_last(axis, length, box, *last))
            places.append([steady[-1]])
        start = np.unique(np.clip(np.concatenate(places), 0, limit))
        ends = start[:, None] + length
        common = np.minimum(ends, obstacles[:, axis + 2]) - np.maximum(
            start[:, None], obstacles[:, axis]
        )
        starts.append(start)
        spans.append(np.clip(common, 0, None) / length)
        gaps.append(np.maximum(np.maximum(box[axis] - start - length, start - box[axis + 2]), 0))
    (x, y), (gap_x, gap_y) = starts, gaps
    cost = (spans[0] * weights) @ spans[1].T
    cost += np.hypot(gap_x[:, None], gap_y[None]) / size[1]
    cost += _SHIFTED * np.abs(x - box[0])[:, None] / size[0]
    cost += _BELOW_TOP * np.clip((y - box[1]) / max(box[3] - box[1], 1), 0, 1)
    cost += _ACROSS_TOP * ((y < box[1]) & (y + size[1] > box[1]))
    beside = (x >= box[2]) | (x + size[0] <= box[0])
    cost += _AT_SIDE * beside[:, None]
    if last is not None:
        cost[np.ix_(x == steady[0], y == steady[1])] -= _STEADINESS
    column, row = np.unravel_index(np.argmin(cost), cost.shape)
    corner = np.array([x[column], y[row]])
    return np.concatenate([corner, corner + size])


def _as_last(
    axis: int, length: int, box: np.ndarray, last_label: np.ndarray, last_box: np.ndarray
) -> float:
    """Where a label begins that keeps its place beside the box, though both may have grown."""
    if last_label[axis + 2] <= last_box[axis]:
        return float(np.round(box[axis] + last_label[axis + 2] - last_box[axis]) - length)
    edge = axis + 2 if last_label[axis] >= last_box[axis + 2] else axis
    return float(np.round(box[edge] + last_label[axis] - last_box[edge]))


def leader(
    label: np.ndarray, box: np.ndarray, least: float = 0.0
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the ends (2,) of the shortest line from a label to its box; None: they touch.

    Args:
        label: XYXY.
        box: XYXY.
        least: distance up to which they count as touching.
    """
    low = np.maximum(label[:2], box[:2])
    high = np.minimum(label[2:], box[2:])
    if (low <= high + least).all():
        return None
    # Along an axis in which they share a part, the line is straight through its middle.
    middle = (low + high) / 2
    at_label = np.where(low <= high, middle, np.clip(middle, label[:2], label[2:]))
    at_box = np.where(low <= high, middle, np.clip(middle, box[:2], box[2:]))
    return at_label, at_box
