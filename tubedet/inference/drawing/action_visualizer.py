"""Persons with several actions each, drawn over a frame."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import cv2
import numpy as np
from detectron2.structures import BoxMode, Instances

from tubedet.inference.action_names import short_action_names
from tubedet.inference.attention import resized_attention

from .heat import blend_heat, heat_colour
from .overlay import OverlayVisualizer
from .trails import Trails

_WHITE = (1.0, 1.0, 1.0)


class _Person(NamedTuple):
    """One person to draw: box (4,) XYXY as fractions of the frame, label lines, colour index."""

    box: np.ndarray
    lines: list[str]
    identity: int


class _Caption(NamedTuple):
    """A line at the lower left, and its colour."""

    text: str
    colour: tuple[float, float, float]


class ActionVisualizer:
    """Draws boxes with action labels, for detections and for ground truth alike.

    Labels do not cover each other where there is room; a line leads from one that is away from its
    box. Text and lines grow with the frame, and frames that are too small for readable text are
    enlarged by a whole number.

    One object draws the frames of one video, in order: it reuses the canvas, and the labels of
    persons with ids stay where they are while no other place is clearly better.

    Args:
        action_names: A names; name k is that of the 0-based action k.
        max_actions: labels per person; those of the lowest scores are left out.
        min_short_side: frames are enlarged until their short side has this many pixels.
        explained: the 0-based actions whose attention detections have, in this order. Each is
            drawn as heat of a colour of its own: that of the drawn person with the best score of
            it, whom a line at the lower left names.
        trails: seconds of their ways that are drawn behind persons with ids; 0: none.
        caption: a line at the lower right of every frame.
    """

    def __init__(
        self,
        action_names: Sequence[str],
        *,
        max_actions: int = 4,
        min_short_side: int = 320,
        explained: Sequence[int] = (),
        trails: float = 0.0,
        caption: str | None = None,
    ):
        self.action_names = short_action_names(action_names)
        self.max_actions = max_actions
        self.min_short_side = min_short_side
        self.explained = list(explained)
        self.caption = caption
        self._trails = Trails(trails) if trails else None
        self._canvas: OverlayVisualizer | None = None
        # Labels and boxes of the last frame by id.
        self._last: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def draw_detections(
        self,
        frame_rgb: np.ndarray,
        instances: Instances,
        *,
        score_threshold: float = 0.5,
        time: float | None = None,
    ) -> np.ndarray:
        """Draw what a model detected.

        Args:
            frame_rgb: uint8 array (H, W, 3), RGB.
            instances: the model's output for a key frame: ``pred_boxes`` (Q, 4) XYXY in pixels of
                ``instances.image_size``, which may differ from the frame's, and ``action_scores``
                (Q, A). A field ``person_ids`` (Q,) chooses the colours and is written, else the
                row chooses them. A field ``action_attention`` (Q, n, h, w) is that of the
                actions explained.
            score_threshold: actions with a lower score are not written, persons without any
                action left are not drawn.
            time: of the frame, seconds, for trails.

        Returns:
            uint8 array, RGB, of the frame's size times a whole number.

        Raises:
            ValueError: if there is not one action score per action name.
        """
        scores = instances.action_scores.detach().float().cpu().numpy()
        if scores.shape[1] != len(self.action_names):
            raise ValueError(
                f"{scores.shape[1]} action scores per person, but {len(self.action_names)} action "
                "names: the names belong to another data set than the model"
            )
        height, width = instances.image_size
        boxes = instances.pred_boxes.tensor.detach().float().cpu().numpy()
        boxes = boxes / (width, height, width, height)
        has_ids = instances.has("person_ids")
        identities = instances.person_ids.tolist() if has_ids else range(len(instances))
        persons, drawn = [], []
        # The surest person is drawn last, over the others. The order of persons in a video must not
        # depend on their scores: labels make room for earlier ones and would jump.
        order = identities if has_ids else scores.max(axis=1, initial=0.0)
        for row in np.argsort(order, kind="stable").tolist():
            actions = np.argsort(-scores[row], kind="stable")[: self.max_actions]
            actions = actions[scores[row, actions] >= score_threshold]
            lines = [f"{self.action_names[a]} {scores[row, a]:.2f}" for a in actions]
            if lines:
                if has_ids:
                    lines[0] = f"#{identities[row]} {lines[0]}"
                persons.append(_Person(boxes[row], lines, identities[row]))
                drawn.append(row)
        ways: dict[int, np.ndarray] = {}
        if self._trails is not None and has_ids and time is not None:
            ways = self._trails.add(time, zip(identities, boxes))
            ways = {person.identity: ways[person.identity] for person in persons}
        if not (self.explained and drawn):
            return self._draw(frame_rgb, persons, ways=ways, steady=has_ids)
        captions, maps = [], []
        for number, action in enumerate(self.explained):
            row = max(drawn, key=lambda row: scores[row, action])
            person = f"#{identities[row]} " if has_ids else ""
            text = f"{self.action_names[action]}: {person}{scores[row, action]:.2f}"
            captions.append(_Caption(text, heat_colour(number)))
            attention = instances.action_attention[row, number]
            maps.append(resized_attention(attention, *frame_rgb.shape[:2]))
        frame_rgb = blend_heat(frame_rgb, maps, [caption.colour for caption in captions])
        return self._draw(frame_rgb, persons, captions, ways=ways, steady=has_ids)

    def draw_annotations(self, frame_rgb: np.ndarray, annotations: list[dict]) -> np.ndarray:
        """Draw ground truth.

        Args:
            frame_rgb: uint8 array (H, W, 3), RGB.
            annotations: those of a dataset dict: ``bbox`` and ``bbox_mode`` (XYXY_ABS in pixels of
                the frame or XYXY_REL), ``actions`` (0-based), optionally ``person_id``.

        Returns:
            uint8 array, RGB, of the frame's size times a whole number.
        """
        height, width = frame_rgb.shape[:2]
        persons = []
        for row, annotation in enumerate(annotations):
            box = np.asarray(annotation["bbox"], dtype=float)
            if annotation["bbox_mode"] != BoxMode.XYXY_REL:
                box = BoxMode.convert(box[None], annotation["bbox_mode"], BoxMode.XYXY_ABS)[0]
                box = box / (width, height, width, height)
            lines = [self.action_names[a] for a in annotation["actions"][: self.max_actions]]
            identity = annotation.get("person_id", -1)
            persons.append(_Person(box, lines, identity if identity >= 0 else row))
        return self._draw(frame_rgb, persons)

    def _draw(
        self,
        frame_rgb: np.ndarray,
        persons: list[_Person],
        captions: Sequence[_Caption] = (),
        *,
        ways: Mapping[int, np.ndarray] = MappingProxyType({}),
        steady: bool = False,
    ) -> np.ndarray:
        factor = max(1, -(-self.min_short_side // min(frame_rgb.shape[:2])))
        if factor > 1:
            frame_rgb = cv2.resize(
                frame_rgb, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC
            )
        canvas = self._canvas_for(frame_rgb)
        height, width = frame_rgb.shape[:2]
        taken: list[np.ndarray] = []
        corner = np.array([0.0, height, 0.0, height])
        for caption in reversed(captions):
            taken.append(canvas.draw_label([caption.text], corner, caption.colour))
            corner[1::2] = taken[-1][1]
        if self.caption is not None:
            corner = np.array([width, height, width, height], dtype=float)
            taken.append(canvas.draw_label([self.caption], corner, _WHITE, avoid=taken))
        boxes = [person.box * (width, height, width, height) for person in persons]
        for identity, way in ways.items():
            canvas.draw_path(way * (width, height), identity_colour(identity))
        for person, box in zip(persons, boxes):
            canvas.draw_box(box, edge_color=identity_colour(person.identity))
        placed = {}
        for row, (person, box) in enumerate(zip(persons, boxes)):
            if not person.lines:
                continue
            label = canvas.draw_label(
                person.lines,
                box,
                identity_colour(person.identity),
                avoid=taken,
                others=boxes[:row] + boxes[row + 1 :],
                last=self._last.get(person.identity) if steady else None,
            )
            taken.append(label)
            placed[person.identity] = (label, np.round(box))
        self._last = placed
        return canvas.output.get_image()

    def _canvas_for(self, frame_rgb: np.ndarray) -> OverlayVisualizer:
        if self._canvas is None or self._canvas.output.img.shape != frame_rgb.shape:
            self._canvas = OverlayVisualizer(frame_rgb)
        else:
            self._canvas.output.reset_image(frame_rgb)
        return self._canvas


def identity_colour(identity: int) -> tuple[float, float, float]:
    """Return the colour of a person: bright RGB (0..1); neighbouring ids get very different hues.

    Args:
        identity: number of the person, such as the id of a track.
    """
    return colorsys.hsv_to_rgb((0.33 + 0.618034 * identity) % 1.0, 0.6, 1.0)
