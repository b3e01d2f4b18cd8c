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
        self, prob: torch.Tensor, pred_boxes: torch.Tensor, gt_boxes: list[torch.Tensor]
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Match the Q queries of each of B clips to its ground-truth boxes.

        Args:
            prob: (B, Q, N) or (B, Q, 1), probability that a query is what box n shows, where the
                N boxes are those of all clips in a row.
            pred_boxes: (B, Q, 4) normalised cxcywh.
            gt_boxes: per clip (N_b, 4) normalised cxcywh.

        Returns:
            per clip int64 query rows in rising order and the box each got, min(Q, N_b) of them.

        Raises:
            FloatingPointError: if the predictions hold NaN or infinite numbers.
        """
        all_boxes = torch.cat(gt_boxes).to(pred_boxes)
        giou = generalized_box_iou(_xyxy(pred_boxes.flatten(0, 1)), _xyxy(all_boxes))
        cost = (
            self.cost_bbox * torch.cdist(pred_boxes, all_boxes[None], p=1)
            - self.cost_giou * giou.view(*pred_boxes.shape[:2], -1)
            - self.cost_class * prob
        ).cpu()
        if not torch.isfinite(cost).all():
            raise FloatingPointError(
                "the matching cost is not finite: training diverged, or the weights or inputs "
                "hold NaN; lower SOLVER.BASE_LR or set SOLVER.CLIP_GRADIENTS"
            )
        per_clip = cost.split([len(boxes) for boxes in gt_boxes], dim=-1)
        assignments = [linear_sum_assignment(c[b].numpy()) for b, c in enumerate(per_clip)]
        return [
            tuple(torch.as_tensor(indices, device=pred_boxes.device) for indices in assignment)
            for assignment in assignments
        ]


def _xyxy(boxes: torch.Tensor) -> torch.Tensor:
    return box_convert(boxes, "cxcywh", "xyxy")
