"""Set losses of all architectures: actions, persons and boxes of matched queries.

The terms and their names are those of the published TubeR; the focal action loss and its matching
cost are those of Deformable DETR, SeqFormer and Sparse R-CNN, for several labels per box. The
number of boxes is averaged over the processes and never below one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.utils import comm
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from tubedet.layers import corners, generalized_iou, to_device, without_autocast

from .action_loss import ActionLoss, logits_of_scores
from .frame_targets import split_into_frames
from .layer_output import LayerOutput, shapes_of
from .matcher import HungarianMatcher
from .targets import BatchTarget, ClipTarget

# Of the person logits "no object" is the last, and what is before these two is never a target:
# TubeR has three of them, STMixer two.
PERSON = -2


@dataclass
class _Matches:
    """Matched queries and boxes of L layers, M in each of them.

    Attributes:
        rows: int64 (L · M,), of all queries of the L layers and B clips in a row.
        columns: likewise, of all boxes of the batch.
    """

    rows: torch.Tensor
    columns: torch.Tensor


# Whether processes compute losses each for itself, see :func:`losses_of_own_process`.
_alone = ContextVar("alone", default=False)


@contextmanager
def losses_of_own_process() -> Iterator[None]:
    """Compute losses without the other processes, which may have fewer batches, or none."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def average_num_boxes(targets: list[ClipTarget], device: torch.device) -> float | torch.Tensor:
    """Boxes per process, at least 1; a collective call when there are several processes.

    Within :func:`losses_of_own_process` it is the number of this process.

    Args:
        targets: of the clips of this process.
        device: where the processes exchange their numbers.
    """
    count = float(sum(len(target.boxes) for target in targets))
    world_size = comm.get_world_size()
    if world_size == 1 or _alone.get():
        return max(count, 1.0)
    total = torch.full((), count, device=device)
    torch.distributed.all_reduce(total)
    return (total / world_size).clamp(min=1)


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
        action_loss: of independent actions, see ``kind`` of :class:`ActionLoss`.
        no_object_weight: class weight of "no object" in the softmax losses.
        matched_action_weight: factor on the action loss of matched queries, in "bce" and
            "query_focal".
        label_smoothing: of independent actions, see :class:`ActionLoss`.
        action_loss_of_scores: independent actions are learned through the scores, person
            probability × action probability, so that they train the person decision too.
        action_frame_mean: see ``frame_mean`` of :class:`ActionLoss`.
        focal_alpha: of the focal losses and cost.
        focal_gamma: likewise.

    Raises:
        UserError: for what :class:`ActionLoss` refuses.
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
        label_smoothing: float = 0.0,
        action_loss_of_scores: bool = False,
        action_frame_mean: bool = False,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
    ):
        super().__init__()
        self.matcher = matcher
        self.exclusive = exclusive
        self.weights = weights
        self.action_loss = ActionLoss(
            kind=action_loss,
            matched_weight=matched_action_weight,
            label_smoothing=label_smoothing,
            frame_mean=action_frame_mean,
            focal_alpha=focal_alpha,
            focal_gamma=focal_gamma,
        )
        self.action_loss_of_scores = action_loss_of_scores
        self.no_object_weight = no_object_weight
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
            "label_smoothing": node.LABEL_SMOOTHING,
            "action_loss_of_scores": node.ACTION_LOSS_OF_SCORES,
            "action_frame_mean": node.ACTION_FRAME_MEAN,
            "focal_alpha": node.FOCAL_ALPHA,
            "focal_gamma": node.FOCAL_GAMMA,
        }

    def forward(
        self, layers: list[LayerOutput], targets: list[ClipTarget]
    ) -> dict[str, torch.Tensor]:
        """Losses of all layers.

        In tube mode every frame that counts is a clip of its own, see
        :func:`~tubedet.modeling.frame_targets.split_into_frames`.

        Args:
            layers: first to last decoder layer, proposals before them.
            targets: one per clip.

        Returns:
            scalar weighted losses; those of the last layer under their plain names, those of
            earlier decoder layer l with the suffix ``_l``, those of proposals with ``_enc``.
        """
        device = layers[-1].boxes.device
        if layers[-1].is_tube:
            layers, targets = split_into_frames(layers, targets)
        with without_autocast(device):
            groups = [list(group) for _, group in groupby(layers, shapes_of)]
            joined = [LayerOutput.joined(group) for group in groups]
            batch = _batch_target(joined, targets)
            matches = self._match(joined, batch)
            num_boxes = average_num_boxes(targets, device)
            by_layer: list[dict[str, torch.Tensor]] = []
            for layer, match in zip(joined, matches):
                terms = self._layer_losses(layer, match, batch, num_boxes)
                weighted = {k: (x * self.weights[k]).unbind() for k, x in terms.items()}
                by_layer += [
                    dict(zip(weighted, values)) for values in zip(*weighted.values(), strict=True)
                ]
        num_decoder_layers = sum(not layer.is_proposal for layer in layers)
        suffixes = iter([*(f"_{i}" for i in range(num_decoder_layers - 1)), ""])
        losses = {}
        for layer, terms in zip(layers, by_layer, strict=True):
            suffix = "_enc" if layer.is_proposal else next(suffixes)
            losses.update({name + suffix: value for name, value in terms.items()})
        return losses

    def match(
        self, layer: LayerOutput, targets: list[ClipTarget]
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return matched (query rows, box rows) of each clip, see :class:`HungarianMatcher`."""
        device = layer.boxes.device
        with without_autocast(device):
            joined = LayerOutput.joined([layer])
            batch = _batch_target([joined], targets)
            ((pairs,),) = self._assign([joined], batch)
        return [
            (torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device))
            for rows, columns in pairs
        ]

    def cost(self, layer: LayerOutput, targets: list[ClipTarget]) -> torch.Tensor:
        """Return the matching cost (B, Q, N) of every query for every box of the batch."""
        with without_autocast(layer.boxes.device):
            joined = LayerOutput.joined([layer])
            batch = _batch_target([joined], targets)
            return self.matcher.cost(*self._matcher_inputs(joined, batch))[0]

    def _assign(self, joined, batch):
        costs = [self.matcher.cost(*self._matcher_inputs(layer, batch)) for layer in joined]
        return self.matcher.assign(costs, batch.counts)

    def _match(self, joined, batch) -> list[_Matches]:
        """Match all layers; costs and indices are copied once each."""
        offsets = np.cumsum([0, *batch.counts])
        indices = []
        for layer, by_layer in zip(joined, self._assign(joined, batch)):
            num_clips, num_queries = layer.boxes.shape[1:3]
            pairs = [
                (rows + (index * num_clips + clip) * num_queries, columns + offsets[clip])
                for index, by_clip in enumerate(by_layer)
                for clip, (rows, columns) in enumerate(by_clip)
            ]
            indices += [np.concatenate(part) for part in zip(*pairs)]
        row = to_device(torch.from_numpy(np.concatenate(indices)), joined[-1].boxes.device)
        pieces = row.split([len(part) for part in indices])
        return [_Matches(*pair) for pair in zip(pieces[::2], pieces[1::2])]

    @torch.no_grad()
    def _matcher_inputs(self, layer, batch):
        """Arguments of :meth:`HungarianMatcher.cost` for L layers, the class cost first."""
        if layer.is_proposal:
            class_cost = self._focal_cost(layer.action_logits)
        elif layer.person_logits is not None and layer.person_logits.dim() == 4:
            class_cost = -layer.person_logits.softmax(-1)[..., PERSON, None]
        elif self.exclusive:
            labels = batch.actions.argmax(1)
            class_cost = -layer.action_logits.softmax(-1).index_select(-1, labels)
        else:
            class_cost = self._focal_cost(layer.action_logits) @ batch.actions.t()
        return class_cost, *_boxes_by_frame(layer, batch)

    def _focal_cost(self, logits):
        """Focal loss of saying yes minus that of saying no, elementwise."""
        prob, alpha, gamma = logits.sigmoid(), self.focal_alpha, self.focal_gamma
        yes = -alpha * (1 - prob) ** gamma * (prob + 1e-8).log()
        no = -(1 - alpha) * prob**gamma * (1 - prob + 1e-8).log()
        return yes - no

    def _layer_losses(self, layer, matches, batch, num_boxes):
        """Losses (L,) of L layers."""
        return {
            **self._action_loss(layer, matches, batch, num_boxes),
            **self._person_loss(layer, matches, batch),
            **self._box_losses(layer, matches, batch, num_boxes),
        }

    def _action_loss(self, layer, matches, batch, num_boxes):
        logits = layer.action_logits
        if logits is None:
            return {}
        if self.exclusive and not layer.is_proposal:
            labels = batch.actions.argmax(1)[matches.columns]
            return {"loss_ce": self._cross_entropy(logits, matches.rows, labels)}
        target = torch.zeros_like(logits)
        if layer.is_proposal:
            target.view(-1).index_fill_(0, matches.rows, 1.0)
        else:
            target.view(-1, logits.shape[-1])[matches.rows] = batch.actions[matches.columns]
        if layer.is_proposal:
            loss = sigmoid_focal_loss(logits, target, self.focal_alpha, self.focal_gamma)
            return {"loss_ce": loss.flatten(1).sum(1) / num_boxes}
        if self.action_loss_of_scores and layer.person_logits is not None:
            person = layer.person_logits.softmax(-1)[..., PERSON]
            logits = logits_of_scores(logits, person)
        return {"loss_ce": self.action_loss(logits, target, matches.rows, num_boxes)}

    def _person_loss(self, layer, matches, batch):
        logits = layer.person_logits
        if logits is None:
            return {}
        if logits.dim() == 3:
            visible = batch.visible.expand(len(logits), -1)
            loss = F.cross_entropy(logits.flatten(0, 1), visible.flatten(), reduction="none")
            return {"loss_ce_b": loss.view(len(logits), -1).mean(1)}
        person = logits.shape[-1] + PERSON
        return {"loss_ce_b": self._cross_entropy(logits, matches.rows, person)}

    def _cross_entropy(self, logits, rows, labels):
        """Softmax loss (L,) of (L, B, Q, K) logits, "no object" being the last of the K classes.

        Args:
            logits: of L layers.
            rows: the queries that have a class, of those of all layers and clips in a row.
            labels: their classes, or the class of all of them.
        """
        num_layers, no_object = len(logits), logits.shape[-1] - 1
        target = torch.full(logits.shape[:-1], no_object, device=logits.device).flatten()
        if isinstance(labels, int):
            target.index_fill_(0, rows, labels)
        else:
            target[rows] = labels
        weight = logits.new_ones(no_object + 1)
        weight[-1] = self.no_object_weight
        loss = F.cross_entropy(logits.flatten(0, 2), target, weight, reduction="none")
        # The sum of all weights is known without a look at the targets.
        matched, others = len(rows) / num_layers, (len(target) - len(rows)) / num_layers
        return loss.view(num_layers, -1).sum(1) / (matched + self.no_object_weight * others)

    def _box_losses(self, layer, matches, batch, num_boxes):
        predicted, boxes, frame_weight = _boxes_by_frame(layer, batch)
        predicted = predicted.transpose(2, 3).flatten(0, 2).index_select(0, matches.rows)
        boxes = boxes.index_select(0, matches.columns)
        to_l1 = self.matcher.l1_coordinates
        l1 = (to_l1(predicted) - to_l1(boxes)).abs().sum(-1)
        giou = generalized_iou(corners(predicted), corners(boxes))
        terms = torch.stack((l1, 1 - giou))  # (2, L · M, F)
        if frame_weight is not None:
            terms = terms * frame_weight.index_select(0, matches.columns)
        # Nothing is weighted where F is one.
        num_layers = len(layer.boxes)
        sums = terms.view(2, num_layers, terms[0].numel() // num_layers).sum(2) / num_boxes
        return {"loss_bbox": sums[0], "loss_giou": sums[1]}


def _batch_target(joined: list[LayerOutput], targets: list[ClipTarget]) -> BatchTarget:
    frames = [layer.frame_boxes.shape[2] for layer in joined if layer.frame_boxes is not None]
    return BatchTarget.from_clips(targets, joined[-1].boxes, frames[0] if frames else None)


def _boxes_by_frame(layer, batch):
    """Boxes that count, with a frame axis.

    Returns:
        predicted (L, B, F, Q, 4); truth (N, F, 4); weight (N, F) of the frames of a box, None where
        F is one. F is 1, the key frame, unless the layers predict several frames and some target
        has them.
    """
    if layer.frame_boxes is None or batch.frame_boxes is None:
        return layer.boxes[:, :, None], batch.boxes, None
    return layer.frame_boxes, batch.frame_boxes, batch.frame_weight
