"""Bipartite matching of queries and ground truth."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import nn
from torchvision.ops import box_convert, generalized_box_iou


class HungarianMatcher(nn.Module):
    """One-to-one assignment of least cost, as in DETR.

    cost = cost_bbox · L1(cxcywh) − cost_giou · GIoU − cost_class · probability.

    Args:
        cost_class, cost_bbox, cost_giou: weights of the three terms.
    """

    def __init__(self, *, cost_class: float, cost_bbox: float, cost_giou: float):
        super().__init__()
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou

    @torch.no_grad()
    def forward(
        self, prob: torch.Tensor, pred_boxes: torch.Tensor, gt_boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Match the Q queries of one clip to its N ground-truth boxes.

        Args:
            prob: (Q, N) or (Q, 1), probability that query q is what box n shows.
            pred_boxes: (Q, 4) normalised cxcywh.
            gt_boxes: (N, 4) normalised cxcywh.

        Returns:
            int64 query rows in rising order and the box each got, both of length min(Q, N).

        Raises:
            FloatingPointError: if the predictions hold NaN or infinite numbers.
        """
        cost = (
            self.cost_bbox * torch.cdist(pred_boxes, gt_boxes, p=1)
            - self.cost_giou * generalized_box_iou(_xyxy(pred_boxes), _xyxy(gt_boxes))
            - self.cost_class * prob
        )
        if not torch.isfinite(cost).all():
            raise FloatingPointError(
                "the matching cost is not finite: training diverged, or the weights or inputs "
                "hold NaN; lower SOLVER.BASE_LR or set SOLVER.CLIP_GRADIENTS"
            )
        rows, columns = linear_sum_assignment(cost.cpu().numpy())
        return (
            torch.as_tensor(rows, device=pred_boxes.device),
            torch.as_tensor(columns, device=pred_boxes.device),
        )


def _xyxy(boxes: torch.Tensor) -> torch.Tensor:
    return box_convert(boxes, "cxcywh", "xyxy")
