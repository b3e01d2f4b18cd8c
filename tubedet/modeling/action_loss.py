"""Losses of independent actions, several of which a person can do at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from tubedet.errors import UserError

ACTION_LOSSES = ("bce", "matched_bce", "focal", "query_focal")
# Scores this near to 0 or 1 get no gradient; so do those of the published class-query detector.
_SCORE_EDGE = 1e-5


@dataclass
class ActionLoss:
    """How far the action logits of all queries are from those of their persons.

    Args:
        kind: "bce": binary cross entropy, mean over everything (TubeR). "matched_bce": the same
            of the queries that have a box alone (STMixer); 0 where no clip of the process has any.
            "focal": sigmoid focal loss, summed and divided by the number of boxes (Deformable
            DETR). "query_focal": sigmoid focal loss, mean over the actions and summed over the
            queries (class-query detector).
        matched_weight: factor on the queries that have a box; "bce" and "query_focal" only.
        label_smoothing: s moves the targets 1 and 0 to 1 − s / 2 and s / 2.
        frame_mean: "query_focal" is divided by the number of frames in which boxes are learned,
            one of each clip or, in tube mode, all.
        focal_alpha: of both focal losses.
        focal_gamma: likewise.

    Raises:
        UserError: for an unknown kind, or a smoothing outside of [0, 1).
    """

    kind: str = "bce"
    matched_weight: float = 1.0
    label_smoothing: float = 0.0
    frame_mean: bool = False
    focal_alpha: float = 0.25
    focal_gamma: float = 2.0

    def __post_init__(self):
        """Refuse what the config must not say."""
        if self.kind not in ACTION_LOSSES:
            raise UserError(
                f"MODEL.CRITERION.ACTION_LOSS is {self.kind!r}; choose one of {ACTION_LOSSES}"
            )
        if not 0 <= self.label_smoothing < 1:
            raise UserError(
                f"MODEL.CRITERION.LABEL_SMOOTHING is {self.label_smoothing}; choose a number from "
                "0 to below 1"
            )

    def __call__(
        self,
        logits: torch.Tensor,
        target: torch.Tensor,
        matched_rows: torch.Tensor,
        num_boxes: float | torch.Tensor,
    ) -> torch.Tensor:
        """Compute the losses (L,) of L layers.

        Args:
            logits: (L, B, Q, A).
            target: likewise, 0 or 1.
            matched_rows: int64, the queries with a box, of those of all layers and clips in a row.
            num_boxes: by which "focal" is divided.
        """
        num_layers = len(logits)
        if self.label_smoothing:
            target = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        if self.kind == "focal":
            loss = sigmoid_focal_loss(logits, target, self.focal_alpha, self.focal_gamma)
            return loss.flatten(1).sum(1) / num_boxes
        if self.kind == "matched_bce":
            logits, target = (x.flatten(0, -2)[matched_rows] for x in (logits, target))
            loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
            per_layer = loss.numel() // num_layers
            return loss.view(num_layers, per_layer).sum(1) / max(per_layer, 1)
        weight = torch.ones_like(logits[..., :1])
        weight.view(-1).index_fill_(0, matched_rows, self.matched_weight)
        if self.kind == "bce":
            loss = F.binary_cross_entropy_with_logits(logits, target, weight, reduction="none")
            return loss.flatten(1).mean(1)
        loss = sigmoid_focal_loss(logits, target, self.focal_alpha, self.focal_gamma)
        by_frame = (loss.mean(-1) * weight[..., 0]).sum(2)
        return by_frame.mean(1) if self.frame_mean else by_frame.sum(1)


def logits_of_scores(action_logits: torch.Tensor, person: torch.Tensor) -> torch.Tensor:
    """Return logits (..., Q, A) of the scores, person probability × action probability.

    Args:
        action_logits: (..., Q, A).
        person: (..., Q), probability that a query is a person.
    """
    scores = action_logits.sigmoid() * person[..., None]
    return scores.clamp(min=_SCORE_EDGE).log() - (1 - scores).clamp(min=_SCORE_EDGE).log()
