"""Tube mode: every frame of a clip is matched and learned on its own.

The class-query detector has queries for each frame, and no query is tied to one person over time.
For the losses a clip of F frames is therefore F clips of one frame. Frames that say nothing are
left out: those before the first and after the last frame of the video, which repeat its border
frames, and those that nobody annotated.
"""

from __future__ import annotations

import torch

from tubedet.layers import to_device

from .layer_output import LayerOutput
from .targets import ClipTarget


def split_into_frames(
    layers: list[LayerOutput], targets: list[ClipTarget]
) -> tuple[list[LayerOutput], list[ClipTarget]]:
    """Make one clip of each frame that counts, in the order of clips and frames.

    Args:
        layers: with a frame axis: ``boxes`` (B, F, Q, 4) and likewise the others.
        targets: one per clip, the key frame at F // 2. Without ``frame_boxes`` only the key frame
            counts, without ``frame_annotated`` all frames do.

    Returns:
        layers for M frames, ``boxes`` (M, Q, 4), and the M targets.
    """
    num_clips, num_frames = layers[-1].boxes.shape[:2]
    rows, frame_targets = [], []
    for clip, target in enumerate(targets):
        for frame in _frames_that_count(target, num_frames):
            rows.append(clip * num_frames + frame)
            frame_targets.append(_target_in_frame(target, frame))
    layers = [layer.mapped(lambda x: x.flatten(0, 1)) for layer in layers]
    if len(rows) < num_clips * num_frames:
        index = to_device(torch.tensor(rows), layers[-1].boxes.device)
        layers = [layer.mapped(lambda x: x.index_select(0, index)) for layer in layers]
    return layers, frame_targets


def _frames_that_count(target: ClipTarget, num_frames: int) -> list[int]:
    if target.frame_boxes is None:
        return [num_frames // 2]
    if target.frame_annotated is None:
        return list(range(num_frames))
    counts = [frame for frame, is_annotated in enumerate(target.frame_annotated) if is_annotated]
    return counts or [num_frames // 2]


def _target_in_frame(target: ClipTarget, frame: int) -> ClipTarget:
    """Return the persons who have a box in a frame."""
    if target.frame_boxes is None or target.frame_valid is None:
        return ClipTarget(target.boxes, target.actions)
    valid = target.frame_valid[:, frame]
    found = ClipTarget(target.frame_boxes[valid, frame], target.actions[valid])
    if target.others is None:
        return found
    other = _target_in_frame(target.others, frame)
    return ClipTarget(
        torch.cat((found.boxes, other.boxes)), torch.cat((found.actions, other.actions))
    )
