"""Bipartite matching of queries and ground truth."""

import numpy as np
import torch
from detectron2.config import configurable
from scipy.optimize import linear_sum_assignment
from torch import nn

from tubedet.errors import UserError
from tubedet.layers import at_least_float32, corners, generalized_iou

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
        boxes, frame_weight = torch.cat(gt_boxes), None
        if gt_valid is not None:
            valid = torch.cat(gt_valid).to(boxes.dtype)
            frame_weight = valid / valid.sum(1, keepdim=True).clamp(min=1)
        cost = self.cost(class_cost, pred_boxes, boxes, frame_weight)
        ((pairs,),) = self.assign([cost[None]], [len(boxes) for boxes in gt_boxes])
        device = pred_boxes.device
        return [
            (torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device))
            for rows, columns in pairs
        ]

    @torch.no_grad()
    def cost(
        self,
        class_cost: torch.Tensor,
        pred_boxes: torch.Tensor,
        boxes: torch.Tensor,
        frame_weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Cost (..., Q, N) of every query for every box, whose own clip it may not be.

        It is at least float32: half precision would make ties of queries that differ.

        Args:
            class_cost: (..., Q, N) or (..., Q, 1).
            pred_boxes: (..., F, Q, 4) normalised cxcywh in F frames.
            boxes: (N, F, 4), those of all clips in a row.
            frame_weight: (N, F), of the frames of a box, one in all; None: all the same.
        """
        class_cost, pred_boxes = at_least_float32(class_cost), at_least_float32(pred_boxes)
        truth = boxes.to(pred_boxes).transpose(0, 1)[:, None]  # (F, 1, N, 4)
        predicted = pred_boxes[..., None, :]
        giou = generalized_iou(corners(predicted), corners(truth))
        l1 = (self.l1_coordinates(predicted) - self.l1_coordinates(truth)).abs().sum(-1)
        pair_cost = self.cost_bbox * l1 - self.cost_giou * giou
        if frame_weight is not None:
            pair_cost = (pair_cost * frame_weight.to(pair_cost).t()[:, None]).sum(-3)
        else:
            pair_cost = pair_cost.mean(-3)
        return self.cost_class * class_cost + pair_cost

    def assign(
        self, costs: list[torch.Tensor], counts: list[int]
    ) -> list[list[list[tuple[np.ndarray, np.ndarray]]]]:
        """Find the assignments of least cost on the host, to which all costs go in one transfer.

        Args:
            costs: (L, B, Q, N) each; L and Q may differ.
            counts: boxes of each of the B clips, N in all.

        Returns:
            for each cost, layer and clip int64 query rows in rising order and the box of the clip
            that each got.

        Raises:
            FloatingPointError: if a cost is NaN or infinite.
        """
        stops = np.cumsum(counts)
        blocks = [  # of every clip the costs of its own boxes
            cost[:, clip, :, stop - count : stop]
            for cost in costs
            for clip, (count, stop) in enumerate(zip(counts, stops))
        ]
        host = torch.cat([block.flatten() for block in blocks]).cpu()
        if not torch.isfinite(host).all():
            raise FloatingPointError(
                "the matching cost is not finite: training diverged, or the weights or inputs "
                "hold NaN; lower SOLVER.BASE_LR or set SOLVER.CLIP_GRADIENTS"
            )
        pieces = host.split([block.numel() for block in blocks])
        shaped = iter([x.view(block.shape).numpy() for x, block in zip(pieces, blocks)])
        results = []
        for _ in costs:
            by_clip = [[linear_sum_assignment(c) for c in next(shaped)] for _ in counts]
            results.append([list(layer) for layer in zip(*by_clip)])
        return results

    def l1_coordinates(self, boxes: torch.Tensor) -> torch.Tensor:
        """Boxes (..., 4) cxcywh in the coordinates of the L1 term."""
        return boxes if self.l1_format == "cxcywh" else corners(boxes)
