"""Drawing the frames of a video: who is hidden, what is drawn and what stands beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tubedet.errors import UserError

from .drawing import BLURS, ActionVisualizer, blur_persons, side_by_side
from .ground_truth import VideoGroundTruth
from .tracking import PossibleBoxes, TrackedFrame

_TRUTH = "ground truth, interpolated between key frames"


@dataclass(frozen=True)
class DrawingOptions:
    """What is drawn beyond boxes and labels.

    Attributes:
        trails: seconds of the ways of persons that are drawn behind them; 0: none.
        blur: "persons" or "faces", see :func:`.blur_persons`; None: nobody is hidden.
        ground_truth: annotations, drawn on the same frame beside the detections.

    Raises:
        UserError: if a value makes no sense.
    """

    trails: float = 0.0
    blur: str | None = None
    ground_truth: VideoGroundTruth | None = None

    def __post_init__(self):
        if not 0 <= self.trails < math.inf:
            raise UserError(f"trails must be a number of seconds, got {self.trails}")
        if self.blur is not None and self.blur not in BLURS:
            raise UserError(f"blur must be one of {', '.join(BLURS)}, got {self.blur!r}")

    def settings(self) -> dict:
        """Return what differs from a drawing of boxes and labels, by name: a json object."""
        values = {"trails": self.trails, "blur": self.blur}
        return {name: value for name, value in values.items() if value}


class FrameDrawer:
    """Draws the frames of one video, in order.

    Args:
        action_names: A names; name k is that of the model's action k.
        options: what is drawn.
        score_threshold: lowest score of an action that is drawn.
        max_missed: that of the :class:`.PersonTracker`.
        explained: columns of the actions whose attention is drawn as heat.
        caption: a line at the lower right of the detections.
    """

    def __init__(
        self,
        action_names: Sequence[str],
        options: DrawingOptions,
        *,
        score_threshold: float,
        max_missed: int,
        explained: Sequence[int] = (),
        caption: str | None = None,
    ):
        self._visualizer = ActionVisualizer(
            action_names, explained=explained, trails=options.trails, caption=caption
        )
        self._score_threshold = score_threshold
        self._blur = options.blur
        self._possible_boxes = PossibleBoxes(max_missed)
        self._truth = options.ground_truth
        if self._truth is not None:
            self._truth_visualizer = ActionVisualizer(self._truth.action_names)

    def draw(self, tracked: TrackedFrame) -> np.ndarray:
        """Draw the next frame.

        Args:
            tracked: the frame and the persons on it.

        Returns:
            uint8 array (h, w, 3), RGB; all frames of a video get the same size.
        """
        image, time = tracked.frame.image, tracked.frame.time
        if self._blur is not None:
            image = blur_persons(image, self._possible_boxes.on(tracked), self._blur)
        drawing = self._visualizer.draw_detections(
            image, tracked.persons, score_threshold=self._score_threshold, time=time
        )
        if self._truth is None:
            return drawing
        annotations = self._truth.at(time)
        beside = self._truth_visualizer.draw_annotations(image, annotations or [])
        title = _TRUTH if annotations is not None else "not annotated here"
        return side_by_side([drawing, beside], ["detections", title])
