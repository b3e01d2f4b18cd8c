"""Tracks that are stored as key frames: where a person is in the frames between."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

Box = tuple[float, float, float, float]


class KeyFrame(NamedTuple):
    """A frame in which the annotator placed a box.

    Attributes:
        frame: its number.
        place: x, y of the corner that the box turns about, width, height; percent of the frame.
        rotation: degrees, clockwise.
        enabled: whether the person stays visible after it.
    """

    frame: int
    place: tuple[float, float, float, float]
    rotation: float
    enabled: bool


def visible_ranges(track: Sequence[KeyFrame], last_frame: int | None) -> list[range]:
    """Return the frames in which a person is seen.

    It is the rule of Label Studio, in its editor (``isInLifespan`` of a video region) and its SDK
    (``extract_key_frames``): a key frame shows its box, enabled or not. After an enabled one the
    person is seen until the next key frame; after the last one, to the end of the video.

    Args:
        track: key frames in their order.
        last_frame: of the video; None, if it is not known: up to the last key frame.
    """
    ends = [key_frame.frame for key_frame in track[1:]]
    ends.append(max(track[-1].frame, last_frame or 0) + 1)
    return [
        range(key_frame.frame, end if key_frame.enabled else key_frame.frame + 1)
        for key_frame, end in zip(track, ends)
    ]


def visible_frames(track: Sequence[KeyFrame], last_frame: int | None) -> Iterator[int]:
    """Numbers of the frames of :func:`visible_ranges`.

    Args:
        track, last_frame: see there.
    """
    return chain.from_iterable(visible_ranges(track, last_frame))


def place_at(track: Sequence[KeyFrame], frame: int) -> tuple[Box, float]:
    """Return where a box is: linear between key frames, unchanged after the last one.

    Args:
        track: key frames in their order.
        frame: from the first key frame on.

    Returns:
        x, y, width, height in percent; rotation in degrees.
    """
    before = bisect_right(track, frame, key=lambda key_frame: key_frame.frame) - 1
    a, b = track[before], track[min(before + 1, len(track) - 1)]
    part = (frame - a.frame) / (b.frame - a.frame) if b.frame > a.frame else 0.0
    x, y, width, height = (p + (q - p) * part for p, q in zip(a.place, b.place))
    return (x, y, width, height), a.rotation + (b.rotation - a.rotation) * part


def upright_box(place: Box, rotation: float, aspect: float | None) -> Box | None:
    """Return the smallest upright box around a turned one.

    Args:
        place: x, y, width, height in percent; the corner x, y is what it turns about.
        rotation: degrees, clockwise.
        aspect: width of the frame by its height; None, if it is not known.

    Returns:
        x1, y1, x2, y2 as fractions of the frame; None, if that needs the aspect.
    """
    x, y, width, height = place
    turn = math.radians(rotation % 360)
    cosine, sine = round(math.cos(turn), 12), round(math.sin(turn), 12)
    if sine and aspect is None:
        return None
    shape = aspect or 1.0
    # The other corners, relative to x, y.
    xs = (0.0, width * cosine, -height * sine / shape, width * cosine - height * sine / shape)
    ys = (0.0, width * sine * shape, height * cosine, width * sine * shape + height * cosine)
    corners = x + min(xs), y + min(ys), x + max(xs), y + max(ys)
    x1, y1, x2, y2 = (round(corner / 100, 9) for corner in corners)
    return x1, y1, x2, y2
