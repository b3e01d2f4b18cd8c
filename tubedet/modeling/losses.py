"""Set losses of TubeR: actions, persons and boxes of matched queries.

The terms, their normalisation and their names follow the published TubeR, except that the number
of boxes is averaged over the processes and never below one.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from detectron2.utils import comm
from torch import nn
from torchvision.ops import box_convert, generalized_box_iou

from .matcher import HungarianMatcher

PERSON, NO_OBJECT = 1, 2  # of the three person logits; index 0 is never a target


@dataclass
class ClipTarget:
    """Ground truth of a clip's key frame.

    Attributes:
        boxes: float (N, 4), normalised cxcywh.
        actions: float (N, A), multi-hot (one-hot where classes are exclusive).
    """

    boxes: torch.Tensor
    actions: torch.Tensor


@dataclass
class LayerOutput:
    """Predictions of one decoder layer for the queries that take part in the loss.

    Attributes:
        action_logits: (B, Q, A), or (B, Q, A + 1) with "no object" last for exclusive classes.
        person_logits: (B, Q, 3), or (B, 2) visibility of each clip for exclusive classes.
        boxes: (B, Q, 4), normalised cxcywh.
    """

    action_logits: torch.Tensor
    person_logits: torch.Tensor
    boxes: torch.Tensor


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Half precision to float32; other dtypes unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def average_num_boxes(targets: list[ClipTarget]) -> float:
    """Boxes per process, at least 1; a collective call when there are several processes."""
    count = torch.tensor(float(sum(len(t.boxes) for t in targets)), device=targets[0].boxes.device)
    if comm.get_world_size() > 1:
        torch.distributed.all_reduce(count)
    return max(count.item() / comm.get_world_size(), 1.0)


class SetCriterion(nn.Module):
    """Match every decoder layer to the ground truth and compute its weighted losses.

    Args:
        matcher: assigns queries to boxes.
        exclusive: one action per person: softmax over actions and "no object", a visibility
            target per clip (TubeR on JHMDB). Otherwise independent sigmoid actions and a person
            target per query (TubeR on AVA).
        weights: factor of "loss_ce" (actions), "loss_ce_b" (person or visibility), "loss_bbox"
            (L1) and "loss_giou".
        no_object_weight: class weight of "no object" in the softmax losses.
        matched_action_weight: factor on the action loss of matched queries, sigmoid only.
    """

    def __init__(
        self,
        *,
        matcher: HungarianMatcher,
        exclusive: bool,
        weights: dict[str, float],
        no_object_weight: float,
        matched_action_weight: float,
    ):
        super().__init__()
        self.matcher = matcher
        self.exclusive = exclusive
        self.weights = weights
        self.no_object_weight = no_object_weight
        self.matched_action_weight = matched_action_weight

    def forward(
        self, layers: list[LayerOutput], targets: list[ClipTarget]
    ) -> dict[str, torch.Tensor]:
        """Losses of all layers.

        Args:
            layers: first to last decoder layer.
            targets: one per clip.

        Returns:
            scalar weighted losses; those of the last layer under their plain names, those of
            earlier layer l with the suffix ``_l``.
        """
        num_boxes = average_num_boxes(targets)
        losses = {}
        for index, layer in enumerate(layers):
            suffix = "" if index == len(layers) - 1 else f"_{index}"
            for name, value in self._layer_losses(layer, targets, num_boxes).items():
                losses[name + suffix] = value * self.weights[name]
        return losses

    def match(
        self, layer: LayerOutput, targets: list[ClipTarget]
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Matched (query rows, box rows) of each clip, see :class:`HungarianMatcher`."""
        if self.exclusive:
            labels = torch.cat([target.actions.argmax(1) for target in targets])
            prob = layer.action_logits.softmax(-1)[:, :, labels]
        else:
            prob = layer.person_logits.softmax(-1)[:, :, PERSON, None]
        return self.matcher(prob, layer.boxes, [target.boxes for target in targets])

    def _layer_losses(self, layer, targets, num_boxes):
        layer = LayerOutput(
            at_least_float32(layer.action_logits),
            at_least_float32(layer.person_logits),
            at_least_float32(layer.boxes),
        )
        pairs = self.match(layer, targets)
        clips = torch.cat([torch.full_like(rows, b) for b, (rows, _) in enumerate(pairs)])
        queries = torch.cat([rows for rows, _ in pairs])
        matched = (clips, queries)
        actions = torch.cat([t.actions[columns] for t, (_, columns) in zip(targets, pairs)])
        boxes = torch.cat([t.boxes[columns] for t, (_, columns) in zip(targets, pairs)])
        classify = self._exclusive_losses if self.exclusive else self._multi_label_losses
        return {
            **classify(layer, matched, actions, targets),
            **self._box_losses(layer.boxes[matched], boxes, num_boxes),
        }

    def _multi_label_losses(self, layer, matched, actions, targets):
        logits = layer.action_logits
        target = torch.zeros_like(logits)
        target[matched] = actions.to(logits)
        weight = torch.ones_like(logits[..., :1])
        weight[matched] = self.matched_action_weight
        person = torch.full(logits.shape[:2], NO_OBJECT, device=logits.device)
        person[matched] = PERSON
        return {
            "loss_ce": F.binary_cross_entropy_with_logits(logits, target, weight),
            "loss_ce_b": self._cross_entropy(layer.person_logits, person),
        }

    def _exclusive_losses(self, layer, matched, actions, targets):
        logits = layer.action_logits
        target = torch.full(logits.shape[:2], logits.shape[-1] - 1, device=logits.device)
        target[matched] = actions.argmax(1)
        visible = torch.tensor([int(len(t.boxes) > 0) for t in targets], device=logits.device)
        return {
            "loss_ce": self._cross_entropy(logits, target),
            "loss_ce_b": F.cross_entropy(layer.person_logits, visible),
        }

    def _cross_entropy(self, logits, target):
        """Softmax loss of (B, Q, K) logits, "no object" being the last of the K classes."""
        weight = logits.new_ones(logits.shape[-1])
        weight[-1] = self.no_object_weight
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), weight)

    @staticmethod
    def _box_losses(predicted, target, num_boxes):
        target = target.to(predicted)
        giou = generalized_box_iou(
            box_convert(predicted, "cxcywh", "xyxy"), box_convert(target, "cxcywh", "xyxy")
        ).diagonal()
        return {
            "loss_bbox": F.l1_loss(predicted, target, reduction="sum") / num_boxes,
            "loss_giou": (1 - giou).sum() / num_boxes,
        }
