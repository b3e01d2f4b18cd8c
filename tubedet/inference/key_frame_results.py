"""What the video detector gives out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from detectron2.structures import Instances


@dataclass(frozen=True)
class KeyFrameResult:
    """What was detected at one key frame.

    Attributes:
        index: number of the result, from 0.
        time: of the key frame, seconds since the first frame of the source.
        instances: the model's output on the CPU, in the order of its queries: ``pred_boxes`` (Q, 4)
            XYXY in pixels of the upright frame, which has the size ``instances.image_size``,
            ``scores`` (Q,) and ``action_scores`` (Q, A), float32; ``person_ids`` (Q,) int64 where
            the boxes are given and belong to tracks. Where actions are to be explained,
            ``action_attention`` (Q, n, h, w) says how much action n of person Q looks at each cell
            of a grid over the frame, see :func:`~tubedet.inference.attention_in_frame`.
        image: the key frame, uint8 (H, W, 3), RGB, if it was asked for.
    """

    index: int
    time: float
    instances: Instances
    image: np.ndarray | None = None


@dataclass(frozen=True)
class DetectedFrame:
    """A frame and the results between which it lies.

    Attributes:
        index: number of the frame among those of the pass, from 0.
        time: seconds since the first frame of the source.
        image: uint8 (H, W, 3), RGB, upright.
        before: of the last key frame at or before this frame. Frames before the first key frame
            have that of the first.
        after: of the next key frame; None after the last key frame and before the first.
    """

    index: int
    time: float
    image: np.ndarray
    before: KeyFrameResult
    after: KeyFrameResult | None
