"""What the video detector gives out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from detectron2.structures import Instances

from tubedet.data.video.container import VideoError
from tubedet.errors import UserError

from .action_names import numbered_actions
from .detected_video import DetectedVideo
from .result_tables import detections_for_supervision, person_action_rows, rows_as_dataframe
from .tracking.person_tracker import counted_persons
from .writers.json_lines import key_frame_record

if TYPE_CHECKING:
    import pandas
    import supervision


_UNKNOWN_VIDEO = DetectedVideo("")


@dataclass(frozen=True, repr=False)
class KeyFrameResult:
    """What was detected at one key frame. A notebook shows it as a picture with a table.

    Attributes:
        index: number of the result, from 0.
        time: of the key frame, seconds since the first frame of the source.
        instances: the model's output on the CPU, in the order of its queries: ``pred_boxes`` (Q, 4)
            XYXY in pixels of the upright frame, which has the size ``instances.image_size``,
            ``scores`` (Q,) and ``action_scores`` (Q, A), float32; ``person_ids`` (Q,) int64 where
            the boxes are given and belong to tracks. Where actions are to be explained,
            ``action_attention`` (Q, n, h, w) says how much action n of person Q looks at each cell
            of a grid over the frame, see :func:`~tubedet.inference.attention_in_frame`; of models
            that look once for all actions, ``context_attention`` (Q, T, h, w) has the time too.
            In a :class:`.VideoResult` they are those of
            :meth:`~tubedet.inference.tracking.PersonTracker.update`.
        image: the key frame, uint8 (H, W, 3), RGB, if it was asked for.
        video: what all results of the video share; None: nothing is known about it.
    """

    index: int
    time: float
    instances: Instances
    image: np.ndarray | None = None
    video: DetectedVideo | None = None

    def __repr__(self) -> str:
        height, width = self.instances.image_size
        name = f"{self.video.name!r}, " if self.video else ""
        return (
            f"KeyFrameResult({name}index={self.index}, time={self.time:.3f}, "
            f"{len(self.instances)} boxes, {width}x{height})"
        )

    def _repr_html_(self) -> str:
        from .result_pictures import key_frame_html

        return key_frame_html(self)

    @property
    def action_names(self) -> tuple[str, ...]:
        """Names of the A actions; "action 1" and so on if none are known.

        Raises:
            UserError: if there are not A of them.
        """
        num_actions = self.instances.action_scores.shape[1]
        names = self._shared.action_names
        if names and len(names) != num_actions:
            raise UserError(
                f"{num_actions} action scores per person, but {len(names)} action names: "
                "give the detector the names of its model's actions"
            )
        return names or tuple(numbered_actions(num_actions))

    def shown_score(self, score_threshold: float | None = None) -> float:
        """Return the lowest score of an action that is shown.

        Args:
            score_threshold: the lowest score, if it is given; None: that of ``video``, or 0.5.
        """
        return self._shared.score_threshold if score_threshold is None else score_threshold

    def persons(self, person_threshold: float | None = None) -> Instances:
        """Return the detections that count.

        Args:
            person_threshold: lowest probability of a person; None: that of ``video``, or 0.5.

        Returns:
            Instances: the N rows of ``instances`` that have it and are finite, in the same order,
            with boxes cut at the borders of the frame.
        """
        if person_threshold is None:
            person_threshold = self._shared.person_threshold
        return counted_persons(self.instances, person_threshold)

    def read_image(self) -> np.ndarray:
        """Return the key frame, uint8 (H, W, 3), RGB: ``image``, else read from the video again.

        Raises:
            VideoError: if the video is gone, has frames of another size by now, or gave its frames
                only once.
        """
        if self.image is not None:
            return self.image
        if self.video is None:
            raise VideoError("the result names no video to read its frame from; give image=")
        image = self.video.frame(self.time)
        if image.shape[:2] != tuple(self.instances.image_size):
            height, width = self.instances.image_size
            raise VideoError(
                f"{self.video.path}: has frames of {image.shape[1]}x{image.shape[0]} pixels now, "
                f"but the result is of {width}x{height}; detect again"
            )
        return image

    def plot(
        self,
        image: np.ndarray | None = None,
        *,
        score_threshold: float | None = None,
        person_threshold: float | None = None,
        max_actions: int = 4,
    ) -> np.ndarray:
        """Draw the persons and their actions on the key frame.

        Args:
            image: the frame, uint8 (H, W, 3), RGB; None: see :meth:`read_image`.
            score_threshold: lowest score of an action that is written; None: that of ``video``, or
                0.5. Persons without any are left out.
            person_threshold: see :meth:`persons`.
            max_actions: labels per person.

        Returns:
            uint8 array, RGB, of the frame's size times a whole number.

        Raises:
            VideoError: see :meth:`read_image`.
        """
        from .result_pictures import draw_key_frame

        return draw_key_frame(
            self,
            self.read_image() if image is None else image,
            score_threshold=score_threshold,
            person_threshold=person_threshold,
            max_actions=max_actions,
        )

    def to_rows(
        self, *, min_score: float = 0.05, person_threshold: float | None = None
    ) -> list[dict]:
        """Return a dictionary for each action of each person.

        Args:
            min_score: actions with a lower score are left out.
            person_threshold: see :meth:`persons`.

        Returns:
            Dictionaries with ``video``, ``time`` in seconds, ``person_id`` (-1: none), ``x1``,
            ``y1``, ``x2``, ``y2`` in pixels, ``person_score``, ``action`` (its name), ``action_id``
            (from 1, as AVA has it) and ``score``. Of a person, the surest action comes first.
        """
        name, persons = self._shared.name, self.persons(person_threshold)
        return person_action_rows(name, self.time, persons, self.action_names, min_score)

    def to_dataframe(
        self, *, min_score: float = 0.05, person_threshold: float | None = None
    ) -> pandas.DataFrame:
        """Return the rows of :meth:`to_rows` as a table of pandas.

        Args:
            min_score: actions with a lower score are left out.
            person_threshold: see :meth:`persons`.

        Raises:
            UserError: if pandas is not installed.
        """
        return rows_as_dataframe(
            self.to_rows(min_score=min_score, person_threshold=person_threshold)
        )

    def to_record(self, *, min_score: float = 0.05, person_threshold: float | None = None) -> dict:
        """Return the object of :class:`~tubedet.inference.writers.JsonLinesWriter`.

        Persons that were not followed have no "id".

        Args:
            min_score: actions with a lower score are left out.
            person_threshold: see :meth:`persons`.
        """
        name, persons = self._shared.name, self.persons(person_threshold)
        return key_frame_record(name, self.time, persons, self.action_names, min_score=min_score)

    def to_json(self, *, min_score: float = 0.05, person_threshold: float | None = None) -> str:
        """Return :meth:`to_record` as json, in one line.

        Args:
            min_score: actions with a lower score are left out.
            person_threshold: see :meth:`persons`.
        """
        record = self.to_record(min_score=min_score, person_threshold=person_threshold)
        return json.dumps(record, allow_nan=False)

    def to_supervision(
        self,
        *,
        score_threshold: float | None = None,
        person_threshold: float | None = None,
        max_actions: int = 1,
    ) -> supervision.Detections:
        """Return the persons as detections of the package supervision.

        Args:
            score_threshold: lowest score of an action; None: that of ``video``, or 0.5.
            person_threshold: see :meth:`persons`.
            max_actions: of a person, the surest ones. Each is a detection, as supervision has one
                class per box.

        Returns:
            Detections with the score of the action as ``confidence``, its column, from 0, as
            ``class_id``, the number of the person as ``tracker_id``, and ``class_name``,
            ``person_score`` and ``time`` in ``data``.

        Raises:
            UserError: if supervision is not installed.
        """
        return detections_for_supervision(
            self.time,
            self.persons(person_threshold),
            self.action_names,
            score_threshold=self.shown_score(score_threshold),
            max_actions=max_actions,
        )

    @property
    def _shared(self) -> DetectedVideo:
        return self.video or _UNKNOWN_VIDEO


@dataclass(frozen=True, repr=False)
class DetectedFrame:
    """A frame and the results between which it lies.

    Attributes:
        index: number of the frame among those of the pass, from 0.
        time: seconds since the first frame of the source.
        image: uint8 (H, W, 3), RGB, upright.
        before: of the last key frame at or before this frame. Frames before the first key frame
            have that of the first.
        after: of the next key frame; None after the last key frame and before the first.
    """

    index: int
    time: float
    image: np.ndarray
    before: KeyFrameResult
    after: KeyFrameResult | None

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        after = "" if self.after is None else f", after={self.after.time:.3f}"
        return (
            f"DetectedFrame(index={self.index}, time={self.time:.3f}, {width}x{height}, "
            f"before={self.before.time:.3f}{after})"
        )
