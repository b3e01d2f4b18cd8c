"""Persons on the frames between two key frames."""

from __future__ import annotations

from detectron2.structures import Boxes, Instances


def interpolate_persons(before: Instances, after: Instances | None, fraction: float) -> Instances:
    """Persons between two key frames.

    Boxes, person probabilities, action scores and attention of a person who is in both key frames
    move linearly from one to the other. A person who is in one of them only stands still: until
    half way if in the first one, from half way on if in the second one.

    Args:
        before: persons of the earlier key frame: ``pred_boxes`` XYXY pixels, ``scores``,
            ``action_scores``, ``person_ids`` and perhaps ``action_attention``, see
            :meth:`PersonTracker.update`.
        after: those of the later one; None: there is none, and ``before`` holds.
        fraction: how far the frame is from the earlier to the later one, in [0, 1].

    Returns:
        Instances: the same fields, in the order of the ids, which keeps drawings steady.

    Raises:
        ValueError: if ``fraction`` is outside of [0, 1].
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must be in [0, 1], got {fraction}")
    if after is None:
        return _by_id(before)
    same = before.person_ids[:, None] == after.person_ids[None]
    rows, partners = same.nonzero(as_tuple=True)
    first, second = before[rows], after[partners]
    both = Instances(
        before.image_size,
        pred_boxes=Boxes(first.pred_boxes.tensor.lerp(second.pred_boxes.tensor, fraction)),
        scores=first.scores.lerp(second.scores, fraction),
        action_scores=first.action_scores.lerp(second.action_scores, fraction),
        person_ids=first.person_ids,
    )
    if before.has("action_attention"):
        both.action_attention = first.action_attention.lerp(second.action_attention, fraction)
    alone = before[~same.any(dim=1)] if fraction < 0.5 else after[~same.any(dim=0)]
    return _by_id(Instances.cat([both, alone]))


def _by_id(persons: Instances) -> Instances:
    return persons[persons.person_ids.argsort()]
