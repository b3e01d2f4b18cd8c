"""Clips of noise with persons at random places, in the form that models take."""

from __future__ import annotations

import torch
from detectron2.structures import Boxes, Instances

NUM_PERSONS = 3
_NUM_ACTIONS_EACH = 3


def random_batch(
    batch_size: int,
    clip_size: tuple[int, int, int],
    *,
    num_actions: int,
    exclusive: bool = False,
    num_persons: int = NUM_PERSONS,
    seed: int = 0,
) -> list[dict]:
    """Draw a batch for training or inference.

    Args:
        batch_size: B, clips.
        clip_size: T, H, W.
        num_actions: A.
        exclusive: Every person does one action instead of up to three.
        num_persons: N, of every clip.
        seed: Of all that is drawn.

    Returns:
        list[dict]: per clip ``clip`` uint8 (3, T, H, W), ``instances`` of the persons with
        ``gt_boxes`` (XYXY pixels) and ``gt_actions`` float (N, A), and their boxes as
        ``proposals`` with ``proposal_boxes`` and ``scores``, 1, for detectors that are given boxes.
    """
    generator = torch.Generator().manual_seed(seed)
    num_frames, height, width = clip_size
    batch = []
    for number in range(batch_size):
        corner = 0.5 * torch.rand(num_persons, 2, generator=generator)
        extent = 0.2 + 0.3 * torch.rand(num_persons, 2, generator=generator)
        boxes = torch.cat((corner, corner + extent), 1)
        num_drawn = 1 if exclusive else _NUM_ACTIONS_EACH
        drawn = torch.randint(num_actions, (num_persons, num_drawn), generator=generator)
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(boxes * torch.tensor([width, height, width, height]))
        instances.gt_actions = torch.zeros(num_persons, num_actions).scatter_(1, drawn, 1)
        proposals = Instances((height, width), proposal_boxes=instances.gt_boxes)
        proposals.scores = torch.ones(num_persons)
        size = (3, num_frames, height, width)
        batch.append(
            {
                "clip": torch.randint(256, size, dtype=torch.uint8, generator=generator),
                "instances": instances,
                "proposals": proposals,
                "video_id": "noise",
                "timestamp": float(number),
            }
        )
    return batch
