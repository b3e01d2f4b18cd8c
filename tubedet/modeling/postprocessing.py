"""From logits and normalised boxes to detections."""

import torch
from detectron2.structures import Boxes, Instances

from tubedet.layers import at_least_float32, corners, to_device

from .layer_output import LayerOutput
from .losses import PERSON


def detections_from_queries(
    output: LayerOutput,
    image_sizes: list[tuple[int, int]],
    *,
    exclusive: bool,
    person_thresh: float,
    score_times_person: bool = True,
    fallback_topk: int = 0,
    clip_boxes: bool = False,
) -> list[Instances]:
    """Turn the last layer's predictions into one :class:`Instances` per clip.

    Every query becomes a row, in query order; nothing is suppressed.

    Args:
        output: last decoder layer; in tube mode the queries of the key frame are taken.
        image_sizes: (height, width) in which each clip's boxes are wanted, in pixels.
        exclusive: see :class:`SetCriterion`.
        person_thresh: action scores are zero unless the person probability is above this.
        score_times_person: see below.
        fallback_topk: in a clip without any query above ``person_thresh``, so many of the most
            probable persons count as above it.
        clip_boxes: cut boxes at the borders of the image.

    Returns:
        Instances with ``pred_boxes`` (Q, 4) XYXY pixels, ``scores`` (Q,) person probability,
        ``action_scores`` (Q, A) and, where the layer has them, ``action_features`` (Q, D).
        Persons alone: the only action is "person". Exclusive actions: softmax without its last
        entry, "no object"; the person probability is what "no object" leaves. Independent actions
        of a layer with a person decision: sigmoid × person probability, which is the softmax's last
        but one (published post-processing of TubeR on AVA), or the sigmoid alone without
        ``score_times_person`` (class-query detector and STMixer on AVA). Independent actions
        otherwise: sigmoid; a person is as probable as the person's most probable action.
    """
    output = output.of_key_frame()
    scores, action_scores = scores_from_queries(output, exclusive, score_times_person)
    kept = scores > person_thresh
    if fallback_topk:
        kept = kept | (_best(scores, fallback_topk) & ~kept.any(-1, keepdim=True))
    action_scores = action_scores * kept[..., None]
    boxes = corners(at_least_float32(output.boxes))
    sides = [(width, height, width, height) for height, width in image_sizes]
    corner = to_device(torch.tensor(sides, dtype=boxes.dtype), boxes.device)[:, None]
    boxes = boxes * corner
    if clip_boxes:
        boxes = torch.minimum(boxes.clamp(min=0), corner)
    results = []
    for b, image_size in enumerate(image_sizes):
        instances = Instances(image_size)
        instances.pred_boxes = Boxes(boxes[b])
        instances.scores = scores[b]
        instances.action_scores = action_scores[b]
        if output.action_features is not None:
            instances.action_features = output.action_features[b]
        results.append(instances)
    return results


def _best(scores: torch.Tensor, number: int) -> torch.Tensor:
    """Return bool (B, Q), the largest scores (B, Q) of each clip."""
    best = scores.topk(min(number, scores.shape[-1])).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, best, True)


def scores_from_queries(
    output: LayerOutput, exclusive: bool, score_times_person: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Person probabilities (B, Q) and action scores (B, Q, A), at least float32.

    Arguments and rules are those of :func:`detections_from_queries`, without its threshold.
    """
    if output.action_logits is None:
        assert output.person_logits is not None  # one of the two is there
        person = at_least_float32(output.person_logits).softmax(-1)[..., PERSON]
        return person, person[..., None]
    actions = at_least_float32(output.action_logits)
    if exclusive:
        action_scores = actions.softmax(-1)[..., :-1]
        return action_scores.sum(-1), action_scores
    if output.person_logits is None:
        action_scores = actions.sigmoid()
        return action_scores.amax(-1), action_scores
    person = at_least_float32(output.person_logits).softmax(-1)[..., PERSON]
    action_scores = actions.sigmoid()
    return person, action_scores * person[..., None] if score_times_person else action_scores
