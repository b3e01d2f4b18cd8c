"""A toy film: shots with backgrounds and figures, its frames and its annotations."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from toy_ava.figure import Capsule, Figure, bounding_box, draw
from toy_ava.motion import (
    CROUCH,
    FALL_DOWN,
    GET_UP,
    LISTEN,
    STAND,
    TALK,
    WALK,
    Performance,
    perform,
)

WIDTH, HEIGHT, FPS = 96, 96, 15
START_SECOND = 900  # the time of the first stored frame, as in AVA
KEY_SECONDS = range(902, 914)

# The action around key second t fills frames -8..+6, the middle of t-0.5 s and t+0.5 s to half a
# frame, and the frames which 8 samples with a stride of 2 take.
_FRAMES_BEFORE_KEY = 8
_SUPERSAMPLING = 2
_SHOT_SECONDS = (2, 5)
# Shares of the pose classes; after each fall comes a getting up.
_DECK = [STAND] * 4 + [WALK] * 4 + [CROUCH] * 3 + [FALL_DOWN] * 3
_WAVE_DECK = [True] * 3 + [False] * 2
_FIGURE_COUNTS, _FIGURE_COUNT_SHARES = (1, 2, 3), (0.86, 0.12, 0.02)
# Body heights as fractions of the frame height, by the number of figures in the shot.
_BODY_HEIGHTS = {1: (0.52, 0.66), 2: (0.45, 0.54), 3: (0.3, 0.35)}


def num_frames(key_seconds: range) -> int:
    """Count the frames of a film; the last key frame is followed by almost two seconds."""
    return (key_seconds.stop + 1 - START_SECOND) * FPS


@dataclass
class _Role:
    """A figure in a shot, with what it does in each second."""

    figure: Figure
    person_id: int
    performances: dict[int, Performance] = field(default_factory=dict)

    def capsules(self, second: int, offset: int) -> list[Capsule]:
        """Drawn limbs `offset` frames after the key frame of `second`."""
        performance = self.performances[second]
        pose = performance.pose(offset / FPS)
        frame = offset + _FRAMES_BEFORE_KEY
        before = self.performances.get(second - 1)
        # Nothing of the second before is visible at what a cue has decided.
        is_blended = before is not None and performance.action not in (LISTEN, TALK)
        if is_blended and frame < 2:
            last = before.pose((FPS - _FRAMES_BEFORE_KEY + frame) / FPS)
            pose = last.blend(pose, (frame + 1) / 3)
        return self.figure.capsules(pose, performance.facing)


@dataclass
class _Shot:
    background: np.ndarray
    roles: list[_Role]


class Film:
    """One toy video, planned when it is made and drawn frame by frame.

    Args:
        rng: source of everything random; equal states give equal films.
        empty_second: a key second at which nobody is in the frame, or None.
        key_seconds: the seconds that are annotated.
        script: action ids of seconds at which everybody does the same; other seconds are random.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        empty_second: int | None = None,
        key_seconds: range = KEY_SECONDS,
        script: Mapping[int, int] | None = None,
    ):
        self._rng = rng
        self._key_seconds = key_seconds
        self._script = script or {}
        self._actions = _endless_deck(_DECK, rng)
        self._waves = _endless_deck(_WAVE_DECK, rng)
        self._next_person = 0
        self._shot_of_second: dict[int, _Shot] = {}
        segments = range(START_SECOND, key_seconds.stop + 2)
        second = segments.start
        while second < segments.stop:
            seconds = int(rng.integers(_SHOT_SECONDS[0], _SHOT_SECONDS[1] + 1))
            stop = min(second + seconds, segments.stop)
            if second == empty_second:
                stop = second + 1
            elif empty_second is not None and second < empty_second:
                stop = min(stop, empty_second)
            shot = self._plan_shot(range(second, stop), is_empty=second == empty_second)
            self._shot_of_second.update(dict.fromkeys(range(second, stop), shot))
            second = stop

    def frames(self) -> Iterator[np.ndarray]:
        """Return the frames (HEIGHT, WIDTH, 3) uint8 RGB in order."""
        for index in range(num_frames(self._key_seconds)):
            segment, frame = divmod(index + _FRAMES_BEFORE_KEY, FPS)
            second = START_SECOND + segment
            shot = self._shot_of_second[second]
            canvas = shot.background.copy()
            for role in shot.roles:
                draw(canvas, role.capsules(second, frame - _FRAMES_BEFORE_KEY), _SUPERSAMPLING)
            yield cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)

    def annotations(self) -> Iterator[tuple[int, tuple[float, ...], list[int], int]]:
        """(key second, box as fractions, action ids, person id) of every visible figure."""
        for second in self._key_seconds:
            for role in self._shot_of_second[second].roles:
                box = bounding_box(role.capsules(second, 0), WIDTH, HEIGHT)
                yield second, box, role.performances[second].action_ids, role.person_id

    def _plan_shot(self, seconds: range, is_empty: bool) -> _Shot:
        rng = self._rng
        background = _background(rng)
        count = 0 if is_empty else int(rng.choice(_FIGURE_COUNTS, p=_FIGURE_COUNT_SHARES))
        roles = []
        for lane in range(count):
            figure = _figure(rng, count, float(background.mean()))
            role = _Role(figure, self._next_person)
            self._next_person += 1
            low, high = WIDTH * lane / count, WIDTH * (lane + 1) / count
            self._rehearse(role, seconds, low, high)
            roles.append(role)
        # Whoever stands lower in the picture is nearer and hides the others.
        return _Shot(background, sorted(roles, key=lambda role: role.figure.ground))

    def _rehearse(self, role: _Role, seconds: range, low: float, high: float) -> None:
        """Fill in what a figure does while it stays between x = low and x = high."""
        rng, height = self._rng, role.figure.height
        # Room to lie down beside the edge of the frame, some overlap with the neighbours.
        low += height * (0.5 if low == 0 else 0.4)
        high -= height * (0.5 if high == WIDTH else 0.4)
        x = float(rng.uniform(low, high))
        facing, tilt_sign = int(rng.choice([-1, 1])), 1
        for second in seconds:
            action = self._script.get(second) or next(self._actions)
            waves = action in (STAND, WALK) and next(self._waves)
            speed = 0.0
            if action == WALK:
                speed = height * float(rng.uniform(0.45, 0.7))
                room = {1: high - x, -1: x - low}
                if room[facing] < speed:
                    facing = max(room, key=room.get)
                speed = min(speed, max(room[facing], 0.25 * height))
                x += 0.5 * facing * speed
            performance = perform(action, waves, x, speed, facing, rng)
            if action == GET_UP and second > seconds.start:
                # Whoever fell down in the second before gets up from the same side.
                performance = replace(performance, tilt_sign=tilt_sign)
            tilt_sign = performance.tilt_sign
            role.performances[second] = performance
            if action == WALK:
                x += 0.5 * facing * speed


def _endless_deck(cards: list, rng: np.random.Generator) -> Iterator:
    """Deal shuffled decks one after the other, which keeps the shares of all cards exact."""
    while True:
        for index in rng.permutation(len(cards)):
            yield cards[index]
            if cards[index] == FALL_DOWN:
                yield GET_UP


def _background(rng: np.random.Generator) -> np.ndarray:
    """Return a blurred, weakly coloured texture at the supersampled size, uint8 RGB."""
    size = (WIDTH * _SUPERSAMPLING, HEIGHT * _SUPERSAMPLING)
    image = np.full((size[1], size[0], 3), rng.uniform(40, 215, 3) * 0.35, np.float32)
    image += 0.65 * float(rng.choice([rng.uniform(30, 80), rng.uniform(170, 225)]))
    for rows, columns, strength in ((3, 4, 9.0), (9, 12, 6.0), (24, 32, 3.0)):
        noise = rng.normal(0, strength, (rows, columns, 3)).astype(np.float32)
        image += cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


def _figure(rng: np.random.Generator, count: int, background_level: float) -> Figure:
    height = HEIGHT * float(rng.uniform(*_BODY_HEIGHTS[count]))
    # Room above for a raised arm, room below for the soles.
    ground = float(rng.uniform(1.35 * height, HEIGHT - 2.0))

    def colour() -> tuple[int, int, int]:
        is_bright = background_level < 128
        base = rng.uniform(150, 255, 3) if is_bright else rng.uniform(0, 105, 3)
        base[rng.integers(3)] = rng.uniform(225, 255) if is_bright else rng.uniform(0, 30)
        return tuple(int(c) for c in base)

    return Figure(
        height=height,
        ground=ground,
        limb_radius=float(rng.uniform(0.045, 0.06)),
        head=colour(),
        shirt=colour(),
        trousers=colour(),
    )
