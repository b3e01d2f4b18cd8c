"""Bipartite matching of queries and ground truth."""

import torch
from detectron2.config import configurable
from scipy.optimize import linear_sum_assignment
from torch import nn
from torchvision.ops import box_convert, generalized_box_iou

from tubedet.errors import UserError
from tubedet.layers import at_least_float32

L1_FORMATS = ("cxcywh", "xyxy")


class HungarianMatcher(nn.Module):
    """One-to-one assignment of least cost, as in DETR.

    cost = cost_class · class cost + mean over frames (cost_bbox · L1 − cost_giou · GIoU).

    Args:
        cost_class: weight of the class cost.
        cost_bbox: weight of the L1 distance.
        cost_giou: weight of the GIoU.
        l1_format: coordinates whose differences make the L1 term: "cxcywh" (DETR and its
            descendants) or "xyxy" (Sparse R-CNN).

    Raises:
        UserError: for an unknown ``l1_format``.
    """

    @configurable
    def __init__(
        self, *, cost_class: float, cost_bbox: float, cost_giou: float, l1_format: str = "cxcywh"
    ):
        super().__init__()
        if l1_format not in L1_FORMATS:
            raise UserError(
                f"MODEL.CRITERION.L1_FORMAT is {l1_format!r}; choose one of {L1_FORMATS}"
            )
        self.cost_class = cost_class
        self.cost_bbox = cost_bbox
        self.cost_giou = cost_giou
        self.l1_format = l1_format

    @classmethod
    def from_config(cls, cfg):
        """Return the arguments of the constructor according to a config."""
        node = cfg.MODEL.CRITERION
        return {
            "cost_class": node.COST_CLASS,
            "cost_bbox": node.COST_BBOX,
            "cost_giou": node.COST_GIOU,
            "l1_format": node.L1_FORMAT,
        }

    @torch.no_grad()
    def forward(
        self,
        class_cost: torch.Tensor,
        pred_boxes: torch.Tensor,
        gt_boxes: list[torch.Tensor],
        gt_valid: list[torch.Tensor] | None = None,
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Match the Q queries of each of B clips to its ground-truth boxes.

        Args:
            class_cost: (B, Q, N) or (B, Q, 1), cost of calling a query what box n shows, where
                the N boxes are those of all clips in a row.
            pred_boxes: (B, F, Q, 4) normalised cxcywh in F frames.
            gt_boxes: per clip (N_b, F, 4) normalised cxcywh.
            gt_valid: per clip bool (N_b, F), the frames in which a box counts; None: all.

        Returns:
            per clip int64 query rows in rising order and the box each got, min(Q, N_b) of them.

        Raises:
            FloatingPointError: if the predictions hold NaN or infinite numbers.
        """
        cost = self.cost(class_cost, pred_boxes, gt_boxes, gt_valid).cpu()
        if not torch.isfinite(cost).all():
            raise FloatingPointError(
                "the matching cost is not finite: training diverged, or the weights or inputs "
                "hold NaN; lower SOLVER.BASE_LR or set SOLVER.CLIP_GRADIENTS"
            )
        per_clip = cost.split([len(boxes) for boxes in gt_boxes], dim=-1)
        assignments = [linear_sum_assignment(c[b].numpy()) for b, c in enumerate(per_clip)]
        return [
            (
                torch.as_tensor(queries, device=pred_boxes.device),
                torch.as_tensor(boxes, device=pred_boxes.device),
            )
            for queries, boxes in assignments
        ]

    def cost(self, class_cost, pred_boxes, gt_boxes, gt_valid=None) -> torch.Tensor:
        """Cost (B, Q, N) of every query for every box; arguments as in :meth:`forward`.

        It is at least float32: half precision would make ties of queries that differ.
        """
        class_cost, pred_boxes = at_least_float32(class_cost), at_least_float32(pred_boxes)
        boxes = torch.cat(gt_boxes).to(pred_boxes)
        frame_weight = boxes.new_ones(boxes.shape[:2])
        if gt_valid is not None:
            frame_weight = torch.cat(gt_valid).to(pred_boxes)
        frame_weight = frame_weight / frame_weight.sum(1, keepdim=True).clamp(min=1)
        total = self.cost_class * class_cost
        for frame in range(boxes.shape[1]):
            predicted, truth = pred_boxes[:, frame], boxes[:, frame]
            giou = generalized_box_iou(_xyxy(predicted.flatten(0, 1)), _xyxy(truth))
            l1 = torch.cdist(self.l1_coordinates(predicted), self.l1_coordinates(truth)[None], p=1)
            pair_cost = self.cost_bbox * l1 - self.cost_giou * giou.view(*predicted.shape[:2], -1)
            total = total + frame_weight[:, frame] * pair_cost
        return total

    def l1_coordinates(self, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes (..., 4) cxcywh in the coordinates of the L1 term."""
        return boxes if self.l1_format == "cxcywh" else _xyxy(boxes)


def _xyxy(boxes: torch.Tensor) -> torch.Tensor:
    return box_convert(boxes, "cxcywh", "xyxy")
