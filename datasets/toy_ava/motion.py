"""What the figures do: one second of one action as a function of time."""

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np

from toy_ava.figure import Pose

# Ids of the official AVA label map.
CROUCH, FALL_DOWN, GET_UP, STAND, WALK, HAND_WAVE = 3, 5, 6, 12, 14, 69
BEND, DANCE = 1, 4
LISTEN, TALK = 74, 79  # drawn alike, with a standing figure

_LYING = 1.5  # tilt of a body on the ground, radians
_FREQUENCIES = {WALK: (1.2, 1.6), CROUCH: (0.6, 0.9), BEND: (0.6, 0.9), DANCE: (1.0, 1.4)}


@dataclass(frozen=True)
class Performance:
    """One second of one figure, centred on a key frame.

    Attributes:
        action: pose class, one of CROUCH, FALL_DOWN, GET_UP, STAND, WALK, BEND, DANCE; or LISTEN or
            TALK.
        waves: whether the figure waves a hand at the same time.
        x: middle of the body in pixels at the key frame.
        facing: +1 or -1; the side the figure looks (and walks) to.
        speed: pixels per second, 0 unless it walks.
        frequency, phase: of the movement, in Hz and cycles.
        depth: how far the knees bend, 0..1.
        rest_arm: angle of arms which neither swing nor are raised, radians.
        frozen_from: the action whose posture a standing figure holds.
        raised: raised arm, "near" or "far", or None.
        arm, arm_swing: middle and amplitude of the raised arm's angle, radians.
        wave_frequency, wave_phase: of the raised arm, in Hz and cycles.
        tilt_sign: +1 or -1; the side the figure falls to or got up from.
    """

    action: int
    waves: bool
    x: float
    facing: int
    speed: float
    frequency: float
    phase: float
    depth: float
    rest_arm: float
    frozen_from: int
    raised: str | None
    arm: float
    arm_swing: float
    wave_frequency: float
    wave_phase: float
    tilt_sign: int

    @property
    def action_ids(self) -> list[int]:
        """Ids of all labels of this second, the pose class first."""
        if self.action in (LISTEN, TALK):
            return [STAND, self.action]
        return [self.action, HAND_WAVE] if self.waves else [self.action]

    def pose(self, time: float) -> Pose:
        """Return the posture `time` seconds after the key frame (negative: before)."""
        if self.action == STAND:
            pose = self._upright(self.frozen_from, 0.0)
        elif self.action in (FALL_DOWN, GET_UP):
            pose = self._falling(time if self.action == FALL_DOWN else -time)
        elif self.action in _GESTURES:
            pose = _GESTURES[self.action](self.frequency * time + self.phase)
        else:
            pose = self._upright(self.action, time)
        if self.raised:
            moved = self.wave_frequency * time if self.waves else 0.0
            angle = self.arm + self.arm_swing * sin(2 * pi * (moved + self.wave_phase))
            pose = pose._replace(**{f"shoulder_{self.raised}": angle, f"elbow_{self.raised}": 0.15})
        return pose._replace(x=self.x + self.facing * self.speed * time)

    def _upright(self, action: int, time: float) -> Pose:
        cycle = self.frequency * time + self.phase
        if action == WALK:
            return _stride(cycle, self.depth)
        return _squat(cycle, self.depth, self.rest_arm)

    def _falling(self, time: float) -> Pose:
        """Tipping over; getting up is the same film run backwards."""
        progress = min(1.0, max(0.0, 0.5 + 1.25 * time + 0.15 * (self.phase - 0.5)))
        tilt = _LYING * progress**1.5
        arm = 0.3 + 1.2 * sin(pi * progress)
        bend = 0.5 * sin(pi * progress)
        return Pose(
            x=0.0,
            tilt=self.tilt_sign * tilt,
            hip_near=bend,
            knee_near=bend,
            hip_far=0.4 * bend,
            knee_far=1.2 * bend,
            shoulder_near=arm,
            elbow_near=0.3,
            shoulder_far=-arm,
            elbow_far=0.2,
        )


def perform(
    action: int, waves: bool, x: float, speed: float, facing: int, rng: np.random.Generator
) -> Performance:
    """Draw the free parameters of one second of an action."""
    # A raised arm does not mean waving: many figures which do not wave hold one up as well.
    holds_arm = rng.random() < {STAND: 0.4, WALK: 0.4, CROUCH: 0.1}.get(action, 0.0)
    frequency = _FREQUENCIES.get(action, (1.0, 1.0))
    side = str(rng.choice(["near", "far"]))
    # Standing figures hold postures of all the moving ones, so that one picture does not tell.
    frozen_from = int(rng.choice([WALK, CROUCH], p=[0.8, 0.2]))
    deep = not (action == STAND and frozen_from == CROUCH)
    return Performance(
        action=action,
        waves=waves,
        x=x,
        facing=facing,
        speed=speed if action == WALK else 0.0,
        frequency=float(rng.uniform(*frequency)),
        phase=float(rng.random()),
        depth=float(rng.uniform(0.8, 1.0)) * (1.0 if deep else 0.4),
        rest_arm=float(rng.uniform(-0.4, 1.2)),
        frozen_from=frozen_from,
        raised=side if waves or holds_arm else None,
        arm=float(rng.uniform(2.2, 2.6)),
        arm_swing=float(rng.uniform(0.75, 0.9)),
        wave_frequency=float(rng.uniform(1.3, 1.7)),
        wave_phase=float(rng.random()),
        tilt_sign=int(rng.choice([-1, 1])),
    )


def _stride(cycle: float, depth: float) -> Pose:
    swing = sin(2 * pi * cycle)
    lifted = cos(2 * pi * cycle)
    return Pose(
        x=0.0,
        lean=0.08,
        hip_near=0.6 * depth * swing,
        knee_near=0.8 * depth * max(0.0, lifted),
        hip_far=-0.6 * depth * swing,
        knee_far=0.8 * depth * max(0.0, -lifted),
        shoulder_near=-0.55 * swing,
        elbow_near=0.35,
        shoulder_far=0.55 * swing,
        elbow_far=0.35,
    )


def _squat(cycle: float, depth: float, arm: float) -> Pose:
    return _bent(depth * (0.75 - 0.25 * cos(2 * pi * cycle)), arm)


def _bent(amount: float, arm: float) -> Pose:
    """Both knees bent by `amount` (0..1), the torso leaning forward to keep the balance."""
    hip, knee = 1.45 * amount, 2.35 * amount
    return Pose(
        x=0.0,
        lean=0.35 * amount,
        hip_near=hip,
        knee_near=knee,
        hip_far=hip * 0.85 + 0.1,
        knee_far=knee * 0.95,
        shoulder_near=arm + 0.15,
        elbow_near=0.4,
        shoulder_far=arm - 0.15,
        elbow_far=0.4,
    )


def _bow(cycle: float) -> Pose:
    """Straight legs; the torso goes down to the front and some way up again."""
    lean = 1.15 - 0.3 * cos(2 * pi * cycle)
    return Pose(
        x=0.0, lean=lean, shoulder_near=0.2, elbow_near=0.1, shoulder_far=-0.1, elbow_far=0.1
    )


def _dance(cycle: float) -> Pose:
    """Spread legs; both arms are up, spread, and swing from side to side."""
    swing = 0.35 * sin(2 * pi * cycle)
    return Pose(
        x=0.0,
        lean=0.4 * swing,
        hip_near=0.3,
        hip_far=-0.3,
        shoulder_near=pi - 0.65 + swing,
        shoulder_far=pi + 0.65 + swing,
    )


def _converse(cycle: float) -> Pose:
    """Straight legs; both forearms are held out and move up and down in turn."""
    swing = 0.35 * sin(2 * pi * cycle)
    return Pose(
        x=0.0,
        hip_near=0.1,
        hip_far=-0.1,
        shoulder_near=0.6,
        elbow_near=1.1 + swing,
        shoulder_far=0.6,
        elbow_far=1.1 - swing,
    )


_GESTURES = {BEND: _bow, DANCE: _dance, LISTEN: _converse, TALK: _converse}
