"""From the clips of key frames to the inputs of a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from tubedet.data.video.sources import FrameSource

from .key_frame_clips import KeyFrameClip
from .person_boxes.sources import FindPersons, PersonBoxSource


def clip_inputs(
    clips: Sequence[KeyFrameClip],
    source: FrameSource,
    device: torch.device,
    person_boxes: PersonBoxSource | None = None,
    find_persons: FindPersons | None = None,
) -> list[dict]:
    """Return the inputs of a model for clips of a video.

    Args:
        clips: of one pass.
        source: the video.
        device: of the model.
        person_boxes: where given boxes come from; None: the model needs none.
        find_persons: what it opened for this video.
    """
    inputs: list[dict] = [
        {
            "clip": _channels_first(clip.clip, pinned=device.type == "cuda"),
            "height": source.height,
            "width": source.width,
            "video_id": source.name,
            "timestamp": clip.time,
        }
        for clip in clips
    ]
    if find_persons is not None:
        assert person_boxes is not None
        for clip, model_input in zip(clips, inputs):
            image = None
            if person_boxes.needs_images:
                image = np.ascontiguousarray(source.rgb(clip.key_frame))
            persons = find_persons(clip.time, image)
            model_input["proposals"] = persons.instances(*clip.clip.shape[1:3])
    return inputs


def _channels_first(frames: np.ndarray, *, pinned: bool) -> torch.Tensor:
    """Return (T, H, W, 3) as (3, T, H, W), pinned for a GPU, which then copies by itself."""
    pixels = frames.transpose(3, 0, 1, 2)
    clip = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=pinned)
    np.copyto(clip.numpy(), pixels)
    return clip
