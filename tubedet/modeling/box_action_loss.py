"""Action loss of given boxes: nothing is matched, every box has its actions."""

import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from tubedet.layers import at_least_float32, without_autocast

LOSSES = ("bce", "focal")
REDUCTIONS = ("sum", "mean")


def box_action_loss(
    logits: torch.Tensor,
    actions: torch.Tensor,
    *,
    exclusive: bool,
    kind: str = "bce",
    reduction: str = "sum",
    focal_alpha: float = 0.25,
    focal_gamma: float = 2.0,
) -> torch.Tensor:
    """Compare what is said of boxes with what their persons do.

    Args:
        logits: (n, A); n may be 0, which makes the loss zero.
        actions: (n, A), 0 or 1.
        exclusive: cross entropy of the one action of a box; boxes without one count for nothing.
            Otherwise the mean over the A independent actions.
        kind: of independent actions, "bce" or "focal".
        reduction: over boxes: "sum", as in VideoMAE-Action-Detection and UMT, or "mean", as in
            PySlowFast and mmaction2.
        focal_alpha: share of the positive class in the focal loss.
        focal_gamma: exponent of the focal loss.

    Returns:
        a scalar, float32 at least, with a way back to the logits.
    """
    with without_autocast(logits.device):
        logits = at_least_float32(logits)
        actions = actions.to(logits.dtype)
        if exclusive:
            labelled = actions.any(1).to(logits.dtype)
            per_box = F.cross_entropy(logits, actions.argmax(1), reduction="none") * labelled
            count = labelled.sum()
        else:
            if kind == "focal":
                terms = sigmoid_focal_loss(logits, actions, focal_alpha, focal_gamma)
            else:
                terms = F.binary_cross_entropy_with_logits(logits, actions, reduction="none")
            per_box = terms.sum(1) / logits.shape[1]
            count = logits.new_full((), len(logits))
        return per_box.sum() if reduction == "sum" else per_box.sum() / count.clamp(min=1)
