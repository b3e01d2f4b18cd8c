"""Detections of consecutive key frames linked into persons with stable ids."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from detectron2.structures import Boxes, Instances
from detectron2.tracking import BBoxIOUTracker

from tubedet.errors import UserError

if TYPE_CHECKING:
    from tubedet.inference.video_detector import KeyFrameResult

_REMEMBERED_SECONDS = 2.0  # for which a person may be missing and keep the id


class _BestOverlapTracker(BBoxIOUTracker):
    """detectron2's tracker, which links the pairs in the order in which they are listed.

    Listing them by falling overlap gives each detection its best partner. (detectron2's Hungarian
    trackers link every detection to some earlier one, however far away it is.)
    """

    def _create_prediction_pairs(self, instances, iou_all):
        pairs = super()._create_prediction_pairs(instances, iou_all)
        return sorted(pairs, key=lambda pair: -float(pair["IoU"]))


class PersonTracker:
    """Gives the persons of key frames ids and smooths their action scores.

    One object follows one video: ids count from 0 and none is given to a second person. Linking is
    detectron2's :class:`~detectron2.tracking.BBoxIOUTracker`. Key frames lie far apart, and who
    walks across the picture leaves the own box within half a second; so boxes are compared with a
    margin around them, which grows with the height of the person as a step does.

    Memory is bounded: only persons who may still come back are remembered.

    Args:
        person_threshold: lowest person probability of a detection that counts, in [0, 1].
        smoothing: time constant in seconds of the exponential average over a person's action
            scores; it looks back only. 0: the scores stay as they are.
        max_missed: key frames for which a person may be missing and keep the id.
        margin: added to each side of a box before it is compared, as a fraction of its height.
        iou_threshold: lowest IoU of two boxes with margins that may belong to one person.

    Raises:
        UserError: if an argument is out of its range.
    """

    def __init__(
        self,
        person_threshold: float = 0.5,
        *,
        smoothing: float = 1.0,
        max_missed: int = 2,
        margin: float = 0.5,
        iou_threshold: float = 0.2,
    ):
        if not 0 <= person_threshold <= 1:
            raise UserError(f"person_threshold must be in [0, 1], got {person_threshold}")
        for name, value in (("smoothing", smoothing), ("margin", margin)):
            if not (value >= 0 and math.isfinite(value)):
                raise UserError(f"{name} must be a finite number of at least 0, got {value}")
        if max_missed < 0:
            raise UserError(f"max_missed must not be negative, got {max_missed}")
        self.person_threshold = person_threshold
        self.smoothing = smoothing
        self.max_missed = max_missed
        self.margin = margin
        self.iou_threshold = iou_threshold
        self.num_persons = 0
        self._linker: _BestOverlapTracker | None = None
        # Per id the number of the update in which the person was last seen, the time of it in
        # seconds, and the smoothed action scores (A,).
        self._seen: dict[int, tuple[int, float, torch.Tensor]] = {}
        self._num_updates = 0
        self._given: set[int] = set()  # numbers of tracks that came with the boxes

    @classmethod
    def for_key_frames(
        cls, every: float, person_threshold: float = 0.5, *, smoothing: float = 1.0
    ) -> PersonTracker:
        """Make a tracker for key frames at equal distances.

        A person may be missing for two seconds, and for two key frames at least.

        Args:
            every: seconds between key frames.
            person_threshold: see the constructor.
            smoothing: likewise.
        """
        max_missed = max(2, round(_REMEMBERED_SECONDS / every))
        return cls(person_threshold, smoothing=smoothing, max_missed=max_missed)

    def update(self, result: KeyFrameResult) -> Instances:
        """Link the detections of the next key frame.

        Args:
            result: of the key frame; its ``instances`` have ``pred_boxes`` (Q, 4) XYXY in pixels of
                ``image_size``, ``scores`` (Q,) and ``action_scores`` (Q, A). They are not changed.
                With ``person_ids`` (Q,) they are linked already, and these ids stay.

        Returns:
            Instances: the N detections that count, in query order: ``pred_boxes`` (N, 4) cut at
            the borders of the frame, ``scores`` (N,), ``action_scores`` (N, A) smoothed, float32,
            and ``person_ids`` (N,) int64; ``action_attention`` where there is one. Rows that are
            not finite, or lie outside of the frame, do not count.
        """
        persons = counted_persons(result.instances, self.person_threshold)
        ids = self._given_ids(persons) if persons.has("person_ids") else self._link(persons)
        persons.action_scores = self._smoothed(ids, persons.action_scores, result.time)
        persons.person_ids = torch.tensor(ids, dtype=torch.int64)
        return persons

    def _given_ids(self, persons: Instances) -> list[int]:
        ids = persons.person_ids.tolist()
        self._given.update(ids)
        self.num_persons = len(self._given)
        return ids

    def _link(self, persons: Instances) -> list[int]:
        height, width = persons.image_size
        if self._linker is None:
            self._linker = _BestOverlapTracker(
                video_height=height,
                video_width=width,
                max_lost_frame_count=self.max_missed,
                min_box_rel_dim=0.0,
                min_instance_period=0,
                track_iou_threshold=self.iou_threshold,
            )
        x1, y1, x2, y2 = persons.pred_boxes.tensor.unbind(dim=1)
        step = self.margin * (y2 - y1)
        compared = Instances(
            persons.image_size,
            pred_boxes=Boxes(torch.stack([x1 - step, y1 - step, x2 + step, y2 + step], dim=1)),
            scores=persons.scores,
            pred_classes=torch.zeros(len(persons), dtype=torch.int32),
        )
        # Missing persons, whom the tracker remembers, come behind those of this key frame.
        ids = self._linker.update(compared).ID[: len(persons)]
        self.num_persons = max([self.num_persons, *(i + 1 for i in ids)])
        return ids

    def _smoothed(self, ids: list[int], action_scores: torch.Tensor, time: float) -> torch.Tensor:
        action_scores = action_scores.clone()
        for row, person_id in enumerate(ids):
            if self.smoothing > 0 and person_id in self._seen:
                _, last_time, average = self._seen[person_id]
                weight = 1 - math.exp(-(time - last_time) / self.smoothing)
                action_scores[row] = average.lerp(action_scores[row], weight)
            self._seen[person_id] = (self._num_updates, time, action_scores[row])
        self._seen = {
            person_id: seen
            for person_id, seen in self._seen.items()
            if self._num_updates - seen[0] <= self.max_missed
        }
        self._num_updates += 1
        return action_scores


def counted_persons(instances: Instances, person_threshold: float) -> Instances:
    """Return the detections that count, in the same order, as copies on the CPU in float32.

    Rows that are not finite, or lie outside of the frame, do not count.

    Args:
        instances: a model's output for a key frame, see :meth:`PersonTracker.update`.
        person_threshold: lowest person probability.

    Returns:
        Instances: ``pred_boxes`` (N, 4) XYXY cut at the borders of the frame, ``scores`` (N,),
        ``action_scores`` (N, A); ``person_ids`` and ``action_attention`` where there are some.
    """
    boxes = Boxes(instances.pred_boxes.tensor.detach().float().cpu().clone())
    scores = instances.scores.detach().float().cpu()
    action_scores = instances.action_scores.detach().float().cpu()
    kept = scores >= person_threshold
    kept &= boxes.tensor.isfinite().all(dim=1) & action_scores.isfinite().all(dim=1)
    boxes = boxes[kept]
    boxes.clip(instances.image_size)
    persons = Instances(
        instances.image_size,
        pred_boxes=boxes,
        scores=scores[kept],
        action_scores=action_scores[kept],
    )
    if instances.has("person_ids"):
        persons.person_ids = instances.person_ids.cpu()[kept]
    if instances.has("action_attention"):
        persons.action_attention = instances.action_attention.detach().float().cpu()[kept]
    return persons[boxes.nonempty()]
