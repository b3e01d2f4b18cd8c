"""Which of the given boxes a head looks at, and where: in training and in detection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torchvision.ops import box_iou

from tubedet.errors import UserError

from .box_geometry import clip_to_frame, extend_boxes, jitter_boxes


@dataclass(frozen=True)
class GivenBoxes:
    """Rules for given person boxes.

    Boxes come and go as detectron2's: XYXY in pixels, a box ends where ``x2`` and ``y2`` are. With
    ``inclusive_pixels`` the arithmetic in between is that of VideoMAE-Action-Detection and UMT, see
    :mod:`.box_geometry`. All of it is float32.

    Attributes:
        inclusive_pixels: ``x2`` and ``y2`` become the last pixel within a box.
        extension: shares of the width and height that a box gets in detection; what is told of a
            person is still the given box.
        score_thresh: boxes with smaller scores are left out, in training too.
        jitter_outward, jitter_inward: see :func:`.jitter_boxes`; in training.
        use_proposals: train on given boxes beside the annotated ones.
        proposal_iou: a given box gets the actions of the annotated box that it overlaps most, if
            their intersection over union is at least this.
        keep_negatives: train on given boxes without an action, too.
        max_boxes: of a clip that train; a random choice of more. 0: all.

    Raises:
        UserError: if a share is negative, or a bound is not in 0..1.
    """

    inclusive_pixels: bool
    extension: Sequence[float]
    score_thresh: float
    jitter_outward: Sequence[float]
    jitter_inward: Sequence[float]
    use_proposals: bool
    proposal_iou: float
    keep_negatives: bool
    max_boxes: int

    def __post_init__(self):
        """Check the values."""
        for key, shares in (
            ("BOX_EXTENSION", self.extension),
            ("JITTER_OUTWARD", self.jitter_outward),
            ("JITTER_INWARD", self.jitter_inward),
        ):
            if len(shares) != 2 or min(shares) < 0:
                raise UserError(
                    f"MODEL.ROI_ACTION.{key} is {shares}; give shares of the width and the height"
                )
        for key, bound in (
            ("BOX_SCORE_THRESH", self.score_thresh),
            ("PROPOSAL_IOU", self.proposal_iou),
        ):
            if not 0 <= bound <= 1:
                raise UserError(f"MODEL.ROI_ACTION.{key} is {bound}; give a number from 0 to 1")
        if self.max_boxes < 0:
            raise UserError(f"MODEL.ROI_ACTION.MAX_BOXES is {self.max_boxes}; give 0 for all")

    def for_detection(
        self,
        boxes: torch.Tensor,
        scores: torch.Tensor,
        size: tuple[int, int],
        stored_size: tuple[int, int],
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Choose boxes for detection.

        Args:
            boxes: float32 (n, 4), in pixels of the clip.
            scores: (n,).
            size: (height, width) of the clip without padding, pixels.
            stored_size: likewise of the stored video, whose pixels are those that a box includes.

        Returns:
            int64 (m,), the boxes that are kept: those with the score and an area within the frame;
            (m, 4), where they are within the frame; and (m, 4), where a head looks.
        """
        boxes, regions, has_area = self.within_frame(boxes, size, stored_size)
        kept = ((scores >= self.score_thresh) & has_area).nonzero()[:, 0]
        return kept, boxes[kept], regions[kept]

    def within_frame(
        self, boxes: torch.Tensor, size: tuple[int, int], stored_size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what detection makes of every box, also of those that it leaves out.

        Args:
            boxes: float32 (n, 4), in pixels of the clip.
            size: see :meth:`for_detection`.
            stored_size: likewise.

        Returns:
            (n, 4), where they are within the frame; (n, 4), where a head looks; and bool (n,),
            whether they have an area there.
        """
        boxes = clip_to_frame(boxes, size, 0.0)
        inner = self._to_last_pixel(boxes, size, stored_size)
        has_area = (inner[:, 2:] > inner[:, :2]).all(1)
        return boxes, extend_boxes(inner, self.extension, size, self._pixel), has_area

    def for_training(
        self,
        boxes: torch.Tensor,
        actions: torch.Tensor,
        proposals: torch.Tensor,
        scores: torch.Tensor,
        size: tuple[int, int],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Choose boxes and their actions for training; draws from PyTorch's generator.

        Args:
            boxes: float32 (N, 4), annotated, in pixels of the clip.
            actions: float (N, A), theirs.
            proposals: float32 (n, 4), given boxes.
            scores: (n,), theirs.
            size: (height, width) of the clip without padding, pixels.

        Returns:
            (m, 4), where a head looks, and (m, A), what it shall say.
        """
        if self.use_proposals:
            proposals = proposals[scores >= self.score_thresh]
            labels = self._assigned(boxes, actions, proposals)
            boxes, actions = torch.cat((boxes, proposals)), torch.cat((actions, labels))
            if not self.keep_negatives:
                positive = actions.any(1)
                boxes, actions = boxes[positive], actions[positive]
        if self.max_boxes and len(boxes) > self.max_boxes:
            chosen = torch.randperm(len(boxes), device=boxes.device)[: self.max_boxes]
            boxes, actions = boxes[chosen], actions[chosen]
        # Stored pixels are not known behind a random crop; those of the clip are near enough.
        inner = self._to_last_pixel(boxes, size, size)
        if any(self.jitter_outward) or any(self.jitter_inward):
            uniform = torch.rand(4, len(inner), device=inner.device)
            inner = jitter_boxes(
                inner, uniform, self.jitter_outward, self.jitter_inward, size, self._pixel
            )
        return inner, actions

    @property
    def _pixel(self) -> float:
        return 1.0 if self.inclusive_pixels else 0.0

    def _to_last_pixel(
        self, boxes: torch.Tensor, size: tuple[int, int], stored_size: tuple[int, int]
    ) -> torch.Tensor:
        """Take a stored pixel off the far sides of boxes, if pixels are counted so."""
        if not self.inclusive_pixels:
            return boxes
        height, width = (own / stored for own, stored in zip(size, stored_size))
        x1, y1, x2, y2 = boxes.unbind(1)
        # An exporter would take numbers in a list for constants.
        return torch.stack((x1, y1, x2 - width, y2 - height), 1)

    def _assigned(
        self, boxes: torch.Tensor, actions: torch.Tensor, proposals: torch.Tensor
    ) -> torch.Tensor:
        """Actions (n, A) of proposals; zero where they overlap no annotated box enough."""
        if len(boxes) == 0 or len(proposals) == 0:
            return actions.new_zeros(len(proposals), actions.shape[1])
        overlap, index = box_iou(proposals, boxes).max(1)
        return actions[index] * (overlap >= self.proposal_iou)[:, None]
