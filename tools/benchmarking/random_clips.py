"""Clips of noise with persons at random places, in the form that models take."""

from __future__ import annotations

import torch
from detectron2.structures import Boxes, Instances

_NUM_PERSONS = 3
_NUM_ACTIONS_EACH = 3


def random_batch(
    batch_size: int,
    clip_size: tuple[int, int, int],
    *,
    num_actions: int,
    exclusive: bool = False,
    seed: int = 0,
) -> list[dict]:
    """Draw a batch for training or inference.

    Args:
        batch_size: B, clips.
        clip_size: T, H, W.
        num_actions: A.
        exclusive: Every person does one action instead of up to three.
        seed: Of all that is drawn.

    Returns:
        list[dict]: per clip ``clip`` uint8 (3, T, H, W) and ``instances`` of three persons with
        ``gt_boxes`` (XYXY pixels) and ``gt_actions`` float (3, A).
    """
    generator = torch.Generator().manual_seed(seed)
    num_frames, height, width = clip_size
    batch = []
    for number in range(batch_size):
        corner = 0.5 * torch.rand(_NUM_PERSONS, 2, generator=generator)
        extent = 0.2 + 0.3 * torch.rand(_NUM_PERSONS, 2, generator=generator)
        boxes = torch.cat((corner, corner + extent), 1)
        num_drawn = 1 if exclusive else _NUM_ACTIONS_EACH
        drawn = torch.randint(num_actions, (_NUM_PERSONS, num_drawn), generator=generator)
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(boxes * torch.tensor([width, height, width, height]))
        instances.gt_actions = torch.zeros(_NUM_PERSONS, num_actions).scatter_(1, drawn, 1)
        size = (3, num_frames, height, width)
        batch.append(
            {
                "clip": torch.randint(256, size, dtype=torch.uint8, generator=generator),
                "instances": instances,
                "video_id": "noise",
                "timestamp": float(number),
            }
        )
    return batch
