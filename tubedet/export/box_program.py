"""A classifier of given boxes as a function of clips and boxes: what is exported."""

from __future__ import annotations

import torch
from torch import nn

from tubedet.layers import at_least_float32
from tubedet.modeling.meta_arch import RoIActionDetector

from .clip_program import exportable_batch, exportable_copy

# Names of what goes in.
BOX_INPUTS = ("clips", "given_boxes", "given_scores")


class BoxProgram(nn.Module):
    """Clips of one size and boxes to actions, as :class:`RoIActionDetector` in evaluation.

    No box is dropped, as the number of rows may not depend on values: actions of one that the
    detector leaves out, for its score or because it has no area in the clip, are zero.

    Args:
        model: its parameters are shared; it is left as it is.
    """

    def __init__(self, model: RoIActionDetector):
        super().__init__()
        self.model = exportable_copy(model)

    def forward(
        self, clips: torch.Tensor, given_boxes: torch.Tensor, given_scores: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Classify every box.

        With ``MODEL.ROI_ACTION.INCLUSIVE_PIXELS`` a pixel is one of the clip, as for a detector
        that is not told the size of the video.

        Args:
            clips: uint8 (B, 3, T, H, W), RGB, the key frame in slot T // 2.
            given_boxes: float32 (N, 5), the index of the clip, then XYXY as fractions of its width
                and height, of all clips in any order.
            given_scores: float32 (N,).

        Returns:
            :data:`.OUTPUTS`: boxes (N, 4), XYXY as fractions, cut at the borders of the clip,
            scores (N,), the given ones, action scores (N, A) as detection reports them, and those
            of all boxes; float32, in the order of the boxes.
        """
        model = self.model
        height, width = clips.shape[-2:]
        # Filled, not listed: an exporter would take listed sizes for constants.
        sides = torch.stack([given_boxes.new_full((), side) for side in (width, height)]).repeat(2)
        boxes, regions, has_area = model.boxes.within_frame(
            given_boxes[:, 1:] * sides, (height, width), (height, width)
        )
        maps = model.feature_maps(exportable_batch(model, clips))
        logits = model.action_head(maps, torch.cat((given_boxes[:, :1], regions), 1))
        logits = at_least_float32(logits)
        all_action_scores = logits.softmax(1) if model.exclusive else logits.sigmoid()
        if model.score_times_box:
            all_action_scores = all_action_scores * given_scores[:, None]
        kept = (given_scores >= model.boxes.score_thresh) & has_area
        # Not the input itself, which no program returns.
        scores = given_scores.clone()
        return boxes / sides, scores, all_action_scores * kept[:, None], all_action_scores
