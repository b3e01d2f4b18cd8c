"""A drawn person: joint angles in, coloured capsules and a tight box out."""

from dataclasses import dataclass
from math import cos, pi, sin
from typing import NamedTuple

import cv2
import numpy as np

# Lengths as fractions of the body height.
_THIGH = _SHIN = 0.24
_TORSO = 0.31
_ARM = 0.19  # the upper arm and the forearm each
_NECK = 0.12  # from the shoulders to the middle of the head
_HEAD_RADIUS = 0.095
_TORSO_RADIUS = 0.085
_HAND_RADIUS = 0.06

_SUBPIXEL_BITS = 4


class Pose(NamedTuple):
    """One posture. Angles in radians; 0 points down, positive swings towards the facing side.

    Attributes:
        x: horizontal centre of the body in pixels.
        tilt: rotation of the whole body from upright (0) to lying (about pi / 2).
        lean: forward rotation of the torso against the legs.
        hip_near, knee_near, hip_far, knee_far: leg angles; a positive knee bends backwards.
        shoulder_near, elbow_near, shoulder_far, elbow_far: arm angles; pi at the shoulder is up.
    """

    x: float
    tilt: float = 0.0
    lean: float = 0.0
    hip_near: float = 0.0
    knee_near: float = 0.0
    hip_far: float = 0.0
    knee_far: float = 0.0
    shoulder_near: float = 0.0
    elbow_near: float = 0.0
    shoulder_far: float = 0.0
    elbow_far: float = 0.0

    def blend(self, other: "Pose", weight: float) -> "Pose":
        """Return the posture `weight` (0..1) of the way from this one to `other`."""
        return Pose(*(a + weight * (b - a) for a, b in zip(self, other)))


class Capsule(NamedTuple):
    """A straight limb with round ends: end points (x, y) and radius in pixels, RGB colour."""

    start: tuple[float, float]
    end: tuple[float, float]
    radius: float
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Figure:
    """The looks of one person, which stay the same while the posture changes.

    Attributes:
        height: body height in pixels when standing straight.
        ground: y of the soles in pixels.
        limb_radius: half the thickness of arms and legs as a fraction of the height.
        head, shirt, trousers: RGB colours; limbs on the far side are drawn darker.
    """

    height: float
    ground: float
    limb_radius: float
    head: tuple[int, int, int]
    shirt: tuple[int, int, int]
    trousers: tuple[int, int, int]

    def capsules(self, pose: Pose, facing: int) -> list[Capsule]:
        """Limbs in drawing order, from the far side to the near one.

        Args:
            pose: the posture.
            facing: +1 looks towards growing x, -1 the other way.
        """
        legs = {
            "near": _chain((0.0, 0.0), pose.hip_near, -pose.knee_near, _THIGH, _SHIN),
            "far": _chain((0.0, 0.0), pose.hip_far, -pose.knee_far, _THIGH, _SHIN),
        }
        # The lower of the two feet stands on the ground, so bent legs lower the body.
        hip_y = -self.limb_radius - max(leg[2][1] for leg in legs.values())
        legs = {side: [(x, y + hip_y) for x, y in leg] for side, leg in legs.items()}
        hip = (0.0, hip_y)
        shoulder = _towards(hip, pi - pose.lean, _TORSO)
        head = _towards(shoulder, pi - pose.lean, _NECK)
        arms = {
            "near": _chain(shoulder, pose.shoulder_near, pose.elbow_near, _ARM, _ARM),
            "far": _chain(shoulder, pose.shoulder_far, pose.elbow_far, _ARM, _ARM),
        }
        parts = []

        def add_limb(points, colour):
            parts.append((points[0], points[1], self.limb_radius, colour))
            parts.append((points[1], points[2], self.limb_radius, colour))

        add_limb(legs["far"], _shade(self.trousers))
        add_limb(arms["far"], _shade(self.shirt))
        parts.append((arms["far"][2], arms["far"][2], _HAND_RADIUS, self.head))
        add_limb(legs["near"], self.trousers)
        parts.append((hip, shoulder, _TORSO_RADIUS, self.shirt))
        parts.append((head, head, _HEAD_RADIUS, self.head))
        add_limb(arms["near"], self.shirt)
        parts.append((arms["near"][2], arms["near"][2], _HAND_RADIUS, self.head))
        cosine, sine = cos(pose.tilt), sin(pose.tilt)

        def place(point):
            """Body coordinates (x forward, y down, soles at 0) to pixels."""
            x, y = facing * point[0], point[1]
            # The feet slide away while the body tips over, so that its middle stays where it was,
            # and a lying body rests on its back, not on the line through its middle.
            return (
                pose.x + self.height * (cosine * x - sine * y - 0.5 * sine),
                self.ground + self.height * (sine * x + cosine * y - _TORSO_RADIUS * abs(sine)),
            )

        return [
            Capsule(place(start), place(end), radius * self.height, colour)
            for start, end, radius, colour in parts
        ]


def draw(canvas: np.ndarray, capsules: list[Capsule], scale: float) -> None:
    """Paint capsules on an RGB canvas (in place) whose pixels are `scale` times smaller."""

    def fixed_point(coordinate: float) -> int:
        # OpenCV counts from the middle of the first pixel, boxes from its edge.
        return round((coordinate * scale - 0.5) * (1 << _SUBPIXEL_BITS))

    for start, end, radius, colour in capsules:
        cv2.line(
            canvas,
            (fixed_point(start[0]), fixed_point(start[1])),
            (fixed_point(end[0]), fixed_point(end[1])),
            colour,
            max(1, round(2 * radius * scale)),
            cv2.LINE_8,  # the canvas is reduced afterwards, which smooths the edges
            _SUBPIXEL_BITS,
        )


def bounding_box(capsules: list[Capsule], width: int, height: int) -> tuple[float, ...]:
    """Tight box (x1, y1, x2, y2) around the capsules, as fractions, clipped to the frame."""
    edges = (
        min(min(c.start[0], c.end[0]) - c.radius for c in capsules) / width,
        min(min(c.start[1], c.end[1]) - c.radius for c in capsules) / height,
        max(max(c.start[0], c.end[0]) + c.radius for c in capsules) / width,
        max(max(c.start[1], c.end[1]) + c.radius for c in capsules) / height,
    )
    return tuple(min(1.0, max(0.0, edge)) for edge in edges)


def _towards(point: tuple[float, float], angle: float, length: float) -> tuple[float, float]:
    """Return the point at a distance; the angle is 0 downwards and grows towards +x."""
    return point[0] + length * sin(angle), point[1] + length * cos(angle)


def _chain(
    origin: tuple[float, float], angle: float, bend: float, upper: float, lower: float
) -> list[tuple[float, float]]:
    """Return the three joints of a limb with two parts of the given lengths."""
    middle = _towards(origin, angle, upper)
    return [origin, middle, _towards(middle, angle + bend, lower)]


def _shade(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    return tuple(int(0.72 * c) for c in colour)
