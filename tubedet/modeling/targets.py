"""Ground truth of clips, and of a batch of them on the device of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tubedet.layers import to_device

# Where a box is not annotated in a frame; it overlaps every prediction, so nothing divides by zero.
_WHOLE_FRAME = (0.5, 0.5, 1.0, 1.0)


@dataclass
class ClipTarget:
    """Ground truth of a clip: its key frame and, where tubes are annotated, other frames.

    Attributes:
        boxes: float (N, 4), normalised cxcywh.
        actions: float (N, A), multi-hot (one-hot where classes are exclusive).
        frame_boxes: float (N, F, 4), normalised cxcywh in the F frames that an architecture
            predicts, the key frame at F // 2; None: only the key frame is annotated.
        frame_valid: bool (N, F), where ``frame_boxes`` holds a box.
        frame_annotated: (F,), whether a frame is one of the video and annotated, with or without
            persons; None: all are. Only tube mode asks.
        others: persons who have a box in other frames alone, with ``frame_boxes`` and
            ``frame_valid``; only tube mode learns them. None: nobody.
    """

    boxes: torch.Tensor
    actions: torch.Tensor
    frame_boxes: torch.Tensor | None = None
    frame_valid: torch.Tensor | None = None
    frame_annotated: Sequence[bool] | None = None
    others: ClipTarget | None = None


@dataclass
class BatchTarget:
    """The N boxes of all clips of a batch in a row.

    Attributes:
        counts: boxes of each of the B clips.
        actions: float (N, A).
        boxes: float (N, 1, 4), normalised cxcywh in the key frame.
        frame_boxes: float (N, F, 4), in all frames; None if no clip has several.
        frame_weight: float (N, F), of every frame of a box; they add up to one, and are zero
            where a box is not annotated. None as ``frame_boxes``.
        visible: int64 (B,), 1 where a clip has boxes, else 0.
    """

    counts: list[int]
    actions: torch.Tensor
    boxes: torch.Tensor
    frame_boxes: torch.Tensor | None
    frame_weight: torch.Tensor | None
    visible: torch.Tensor

    @classmethod
    def from_clips(
        cls, clips: list[ClipTarget], like: torch.Tensor, num_frames: int | None = None
    ) -> BatchTarget:
        """Join the targets and copy them to the device in one transfer.

        Args:
            clips: of the batch; without a wait for the GPU if they are on the host.
            like: whose device and dtype the numbers get.
            num_frames: F, the frames in which some decoder layer predicts boxes; None: the key
                frame alone.
        """
        place = clips[0].boxes.device
        parts = {
            "actions": torch.cat([clip.actions for clip in clips]),
            "boxes": torch.cat([clip.boxes for clip in clips])[:, None],
            "visible": torch.tensor([float(len(clip.boxes) > 0) for clip in clips], device=place),
        }
        if num_frames is not None and any(clip.frame_boxes is not None for clip in clips):
            boxes, valid = map(
                torch.cat, zip(*(_in_every_frame(clip, num_frames) for clip in clips))
            )
            whole = torch.tensor(_WHOLE_FRAME, device=place)
            parts["frame_boxes"] = torch.where(valid[..., None], boxes, whole)
            # Every box counts once, however many of its frames are annotated.
            weight = valid.to(like.dtype)
            parts["frame_weight"] = weight / weight.sum(1, keepdim=True).clamp(min=1)
        row = torch.cat([part.to(like.dtype).flatten() for part in parts.values()])
        pieces = to_device(row, like.device).split([part.numel() for part in parts.values()])
        joined = {
            name: piece.view(part.shape) for (name, part), piece in zip(parts.items(), pieces)
        }
        return cls(
            counts=[len(clip.boxes) for clip in clips],
            actions=joined["actions"],
            boxes=joined["boxes"],
            frame_boxes=joined.get("frame_boxes"),
            frame_weight=joined.get("frame_weight"),
            visible=joined["visible"].long(),
        )


def _in_every_frame(clip: ClipTarget, num_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes (N, F, 4) of a clip, and bool (N, F), where they count."""
    if clip.frame_boxes is not None and clip.frame_valid is not None:
        return clip.frame_boxes, clip.frame_valid
    key_frame = torch.arange(num_frames, device=clip.boxes.device) == num_frames // 2
    boxes = clip.boxes[:, None].expand(-1, num_frames, -1)
    return boxes, key_frame.expand(len(boxes), -1)
