"""Set losses of all architectures: actions, persons and boxes of matched queries.

The terms and their names are those of the published TubeR; the focal action loss and its matching
cost are those of Deformable DETR, SeqFormer and Sparse R-CNN, for several labels per box. The
number of boxes is averaged over the processes and never below one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.utils import comm
from torch import nn
from torchvision.ops import box_convert, generalized_box_iou_loss, sigmoid_focal_loss

from tubedet.errors import UserError
from tubedet.layers import at_least_float32, without_autocast

from .matcher import HungarianMatcher

PERSON, NO_OBJECT = 1, 2  # of the three person logits; index 0 is never a target
ACTION_LOSSES = ("bce", "focal")


@dataclass
class ClipTarget:
    """Ground truth of a clip: its key frame and, where tubes are annotated, other frames.

    Attributes:
        boxes: float (N, 4), normalised cxcywh.
        actions: float (N, A), multi-hot (one-hot where classes are exclusive).
        frame_boxes: float (N, F, 4), normalised cxcywh in the F frames that an architecture
            predicts, the key frame at F // 2; None: only the key frame is annotated.
        frame_valid: bool (N, F), where ``frame_boxes`` holds a box.
    """

    boxes: torch.Tensor
    actions: torch.Tensor
    frame_boxes: torch.Tensor | None = None
    frame_valid: torch.Tensor | None = None


@dataclass
class LayerOutput:
    """Predictions of one decoder layer for the queries that take part in the loss.

    Attributes:
        action_logits: (B, Q, A), or (B, Q, A + 1) with "no object" last for exclusive classes, or
            None for persons alone.
        boxes: (B, Q, 4), normalised cxcywh in the key frame.
        person_logits: (B, Q, 3) for a person decision per query, (B, 2) for the visibility of
            a person per clip, None for neither.
        frame_boxes: (B, F, Q, 4), ``boxes`` in every frame the architecture predicts, or None.
        is_proposal: whether these are proposals of an encoder, whose ``action_logits`` (B, Q, 1)
            say "person".
    """

    action_logits: torch.Tensor | None
    boxes: torch.Tensor
    person_logits: torch.Tensor | None = None
    frame_boxes: torch.Tensor | None = None
    is_proposal: bool = False

    def at_least_float32(self) -> LayerOutput:
        """Return the same with half precision turned into float32."""
        return LayerOutput(
            action_logits=at_least_float32(self.action_logits),
            boxes=at_least_float32(self.boxes),
            person_logits=at_least_float32(self.person_logits),
            frame_boxes=at_least_float32(self.frame_boxes),
            is_proposal=self.is_proposal,
        )


def average_num_boxes(targets: list[ClipTarget]) -> float:
    """Boxes per process, at least 1; a collective call when there are several processes."""
    count = torch.tensor(float(sum(len(t.boxes) for t in targets)), device=targets[0].boxes.device)
    if comm.get_world_size() > 1:
        torch.distributed.all_reduce(count)
    return max(count.item() / comm.get_world_size(), 1.0)


class SetCriterion(nn.Module):
    """Match every decoder layer to the ground truth and compute its weighted losses.

    The class term of the matching cost is, whichever comes first: the person probability of a
    query (if the layer has one), the softmax probability of the box's action (exclusive classes),
    or the focal cost summed over the actions of the box.

    Args:
        matcher: assigns queries to boxes.
        exclusive: one action per person: softmax over actions and "no object". Otherwise
            independent sigmoid actions.
        weights: factor of "loss_ce" (actions), "loss_ce_b" (person or visibility), "loss_bbox"
            (L1) and "loss_giou".
        action_loss: of independent actions. "bce": binary cross entropy, mean over everything
            (TubeR). "focal": sigmoid focal loss, summed and divided by the number of boxes.
        no_object_weight: class weight of "no object" in the softmax losses.
        matched_action_weight: factor on the action loss of matched queries, "bce" only.
        focal_alpha: of the focal loss and cost.
        focal_gamma: likewise.

    Raises:
        UserError: for an unknown ``action_loss``.
    """

    @configurable
    def __init__(
        self,
        *,
        matcher: HungarianMatcher,
        exclusive: bool,
        weights: dict[str, float],
        action_loss: str = "bce",
        no_object_weight: float = 0.1,
        matched_action_weight: float = 1.0,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
    ):
        super().__init__()
        if action_loss not in ACTION_LOSSES:
            raise UserError(
                f"MODEL.CRITERION.ACTION_LOSS is {action_loss!r}; choose one of {ACTION_LOSSES}"
            )
        self.matcher = matcher
        self.exclusive = exclusive
        self.weights = weights
        self.action_loss = action_loss
        self.no_object_weight = no_object_weight
        self.matched_action_weight = matched_action_weight
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma

    @classmethod
    def from_config(cls, cfg):
        """Return the arguments of the constructor according to a config."""
        node = cfg.MODEL.CRITERION
        return {
            "matcher": HungarianMatcher(cfg),
            "exclusive": cfg.MODEL.EXCLUSIVE_ACTIONS and not cfg.MODEL.PERSON_ONLY,
            "weights": {
                "loss_ce": node.ACTION_LOSS_WEIGHT,
                "loss_ce_b": node.PERSON_LOSS_WEIGHT,
                "loss_bbox": node.BBOX_LOSS_WEIGHT,
                "loss_giou": node.GIOU_LOSS_WEIGHT,
            },
            "action_loss": node.ACTION_LOSS,
            "no_object_weight": node.NO_OBJECT_WEIGHT,
            "matched_action_weight": node.MATCHED_ACTION_WEIGHT,
            "focal_alpha": node.FOCAL_ALPHA,
            "focal_gamma": node.FOCAL_GAMMA,
        }

    def forward(
        self, layers: list[LayerOutput], targets: list[ClipTarget]
    ) -> dict[str, torch.Tensor]:
        """Losses of all layers.

        Args:
            layers: first to last decoder layer, proposals before them.
            targets: one per clip.

        Returns:
            scalar weighted losses; those of the last layer under their plain names, those of
            earlier decoder layer l with the suffix ``_l``, those of proposals with ``_enc``.
        """
        with without_autocast(layers[-1].boxes.device):
            return self._losses([layer.at_least_float32() for layer in layers], targets)

    def _losses(self, layers, targets):
        num_boxes = average_num_boxes(targets)
        num_decoder_layers = sum(not layer.is_proposal for layer in layers)
        suffixes = iter([*(f"_{i}" for i in range(num_decoder_layers - 1)), ""])
        losses = {}
        for layer in layers:
            suffix = "_enc" if layer.is_proposal else next(suffixes)
            for name, value in self._layer_losses(layer, targets, num_boxes).items():
                losses[name + suffix] = value * self.weights[name]
        return losses

    def match(
        self, layer: LayerOutput, targets: list[ClipTarget]
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return matched (query rows, box rows) of each clip, see :class:`HungarianMatcher`."""
        with without_autocast(layer.boxes.device):
            return self.matcher(*self._matcher_inputs(layer.at_least_float32(), targets))

    def _matcher_inputs(self, layer, targets):
        if layer.is_proposal:
            class_cost = self._focal_cost(layer.action_logits)
        elif layer.person_logits is not None and layer.person_logits.dim() == 3:
            class_cost = -layer.person_logits.softmax(-1)[:, :, PERSON, None]
        elif self.exclusive:
            labels = torch.cat([target.actions.argmax(1) for target in targets])
            class_cost = -layer.action_logits.softmax(-1)[:, :, labels]
        else:
            labels = torch.cat([target.actions for target in targets]).to(layer.action_logits)
            class_cost = self._focal_cost(layer.action_logits) @ labels.T
        return class_cost, *_boxes_by_frame(layer, targets)

    def _focal_cost(self, logits):
        """Focal loss of saying yes minus that of saying no, elementwise."""
        prob, alpha, gamma = logits.sigmoid(), self.focal_alpha, self.focal_gamma
        yes = -alpha * (1 - prob) ** gamma * (prob + 1e-8).log()
        no = -(1 - alpha) * prob**gamma * (1 - prob + 1e-8).log()
        return yes - no

    def _layer_losses(self, layer, targets, num_boxes):
        pairs = self.match(layer, targets)
        clips = torch.cat([torch.full_like(rows, b) for b, (rows, _) in enumerate(pairs)])
        matched = (clips, torch.cat([rows for rows, _ in pairs]))
        actions = torch.cat([t.actions[columns] for t, (_, columns) in zip(targets, pairs)])
        return {
            **self._action_loss(layer, matched, actions, num_boxes),
            **self._person_loss(layer, matched, targets),
            **self._box_losses(layer, matched, targets, pairs, num_boxes),
        }

    def _action_loss(self, layer, matched, actions, num_boxes):
        logits = layer.action_logits
        if logits is None:
            return {}
        if self.exclusive and not layer.is_proposal:
            target = torch.full(logits.shape[:2], logits.shape[-1] - 1, device=logits.device)
            target[matched] = actions.argmax(1)
            return {"loss_ce": self._cross_entropy(logits, target)}
        target = torch.zeros_like(logits)
        target[matched] = 1.0 if layer.is_proposal else actions.to(logits)
        if self.action_loss == "focal" or layer.is_proposal:
            loss = sigmoid_focal_loss(
                logits, target, self.focal_alpha, self.focal_gamma, reduction="sum"
            )
            return {"loss_ce": loss / num_boxes}
        weight = torch.ones_like(logits[..., :1])
        weight[matched] = self.matched_action_weight
        return {"loss_ce": F.binary_cross_entropy_with_logits(logits, target, weight)}

    def _person_loss(self, layer, matched, targets):
        logits = layer.person_logits
        if logits is None:
            return {}
        if logits.dim() == 2:
            visible = torch.tensor([int(len(t.boxes) > 0) for t in targets], device=logits.device)
            return {"loss_ce_b": F.cross_entropy(logits, visible)}
        person = torch.full(logits.shape[:2], NO_OBJECT, device=logits.device)
        person[matched] = PERSON
        return {"loss_ce_b": self._cross_entropy(logits, person)}

    def _cross_entropy(self, logits, target):
        """Softmax loss of (B, Q, K) logits, "no object" being the last of the K classes."""
        weight = logits.new_ones(logits.shape[-1])
        weight[-1] = self.no_object_weight
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), weight)

    def _box_losses(self, layer, matched, targets, pairs, num_boxes):
        predicted, boxes, valid = _boxes_by_frame(layer, targets)
        predicted = predicted.transpose(1, 2)[matched]
        boxes, valid = (
            torch.cat([x[columns] for x, (_, columns) in zip(per_clip, pairs)])
            for per_clip in (boxes, valid)
        )
        # Every box counts once, however many of its frames are annotated.
        frame_weight = (valid / valid.sum(1, keepdim=True).clamp(min=1)).to(predicted)[valid]
        predicted, boxes = predicted[valid], boxes.to(predicted)[valid]
        to_l1 = self.matcher.l1_coordinates
        l1 = (to_l1(predicted) - to_l1(boxes)).abs().sum(-1)
        giou_loss = generalized_box_iou_loss(
            box_convert(predicted, "cxcywh", "xyxy"), box_convert(boxes, "cxcywh", "xyxy"), eps=0
        )
        return {
            "loss_bbox": (l1 * frame_weight).sum() / num_boxes,
            "loss_giou": (giou_loss * frame_weight).sum() / num_boxes,
        }


def _boxes_by_frame(layer, targets):
    """Boxes that count, with a frame axis.

    Returns:
        predicted (B, F, Q, 4); per clip truth (N, F, 4) and bool (N, F), where it counts. F is 1,
        the key frame, unless the layer predicts several frames and some target has them.
    """
    if layer.frame_boxes is None or all(t.frame_boxes is None for t in targets):
        boxes = [t.boxes[:, None] for t in targets]
        return layer.boxes[:, None], boxes, [b.new_ones(b.shape[:2]).bool() for b in boxes]
    num_frames = layer.frame_boxes.shape[1]
    boxes, valid = [], []
    for target in targets:
        if target.frame_boxes is None:
            boxes.append(target.boxes[:, None].expand(-1, num_frames, -1))
            key_frame = torch.arange(num_frames, device=target.boxes.device) == num_frames // 2
            valid.append(key_frame.expand(len(target.boxes), -1))
        else:
            boxes.append(target.frame_boxes)
            valid.append(target.frame_valid)
    return layer.frame_boxes, boxes, valid
