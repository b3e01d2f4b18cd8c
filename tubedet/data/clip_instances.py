"""Boxes of a dataset dict: in pixels of the stored video, and as Instances of the clip."""

from __future__ import annotations

import numpy as np
import torch
from detectron2.structures import Boxes, BoxMode, Instances

from tubedet.errors import UserError

from .augmentation import ClipAugInput
from .visible_boxes import clip_tubes, keep_visible_boxes


def pixel_boxes(rows: list[dict], height: int, width: int) -> np.ndarray:
    """Bring boxes to pixels of the stored video.

    Args:
        rows: N dicts with ``bbox`` and ``bbox_mode``, XYXY_ABS or XYXY_REL.
        height: of the stored video.
        width: likewise.

    Returns:
        (N, 4) float64, XYXY.

    Raises:
        ValueError: for another mode.
    """
    boxes = np.empty((len(rows), 4))
    for row, annotation in enumerate(rows):
        boxes[row] = annotation["bbox"]
        if annotation["bbox_mode"] == BoxMode.XYXY_REL:
            boxes[row] *= (width, height, width, height)
        elif annotation["bbox_mode"] != BoxMode.XYXY_ABS:
            raise ValueError(
                f"bbox_mode must be XYXY_ABS or XYXY_REL, got {annotation['bbox_mode']!r}"
            )
    return boxes


def given_boxes(
    dataset_dict: dict, height: int, width: int, *, ground_truth: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the boxes that a model is given.

    Args:
        dataset_dict: with detectron2's ``proposal_boxes``, ``proposal_bbox_mode`` and, unless all
            are 1, ``proposal_scores``, or without them.
        height: see :func:`pixel_boxes`.
        width: likewise.
        ground_truth: without ``proposal_boxes``, give the annotated ones.

    Returns:
        boxes (n, 4) as of :func:`pixel_boxes`, and scores float32 (n,), None where none are given.
    """
    if "proposal_boxes" in dataset_dict:
        boxes = np.asarray(dataset_dict["proposal_boxes"], dtype=np.float64).reshape(-1, 4)
        mode = dataset_dict["proposal_bbox_mode"]
        rows = [{"bbox": box, "bbox_mode": mode} for box in boxes]
        scores = dataset_dict.get("proposal_scores", np.ones(len(boxes)))
        return pixel_boxes(rows, height, width), np.asarray(scores, np.float32).reshape(-1)
    if ground_truth:
        annotations = dataset_dict.get("annotations", [])
        return pixel_boxes(annotations, height, width), np.ones(len(annotations), np.float32)
    return np.empty((0, 4)), None


def given_instances(
    boxes: np.ndarray, scores: np.ndarray, aug_input: ClipAugInput, **smallest: float
) -> Instances:
    """Return the given boxes that a clip shows.

    Args:
        boxes: (n, 4), XYXY in pixels of the clip.
        scores: (n,).
        aug_input: the clip.
        smallest: see :func:`keep_visible_boxes`.
    """
    height, width = aug_input.image.shape[:2]
    boxes, visible = keep_visible_boxes(boxes, height=height, width=width, **smallest)
    return Instances(
        (height, width),
        proposal_boxes=Boxes(torch.from_numpy(boxes.astype(np.float32))),
        scores=torch.from_numpy(scores[visible]),
    )


def annotated_instances(
    boxes: np.ndarray,
    actions: torch.Tensor,
    aug_input: ClipAugInput,
    **smallest: float,
) -> tuple[Instances, Instances | None]:
    """Return the persons of the key frame and, where there are tubes, those of other frames.

    Args:
        boxes: (N, 4), of the persons in the key frame, XYXY in pixels of the clip.
        actions: (N + M, A), of those and of the M persons in other frames alone.
        aug_input: the clip, with ``tubes`` (N + M, T, 4) or None.
        smallest: see :func:`keep_visible_boxes`.
    """
    size = height, width = aug_input.image.shape[:2]
    limits = {"height": height, "width": width, **smallest}
    boxes, visible = keep_visible_boxes(boxes, **limits)
    num_others = len(actions) - len(visible)
    in_key_frame = torch.from_numpy(np.append(visible, np.zeros(num_others, bool)))
    instances = Instances(
        size,
        gt_boxes=Boxes(torch.from_numpy(boxes.astype(np.float32))),
        gt_actions=actions[in_key_frame],
    )
    if aug_input.tubes is None:
        return instances, None
    tubes = torch.from_numpy(clip_tubes(aug_input.tubes, **limits).astype(np.float32))
    instances.gt_tubes = tubes[in_key_frame]
    elsewhere = Instances(size, gt_tubes=tubes[~in_key_frame], gt_actions=actions[~in_key_frame])
    return instances, elsewhere


def multi_hot_actions(
    annotations: list[dict], num_actions: int, dataset_dict: dict
) -> torch.Tensor:
    """Return the actions of N persons, float32 (N, A).

    Args:
        annotations: N dicts with ``actions``, columns of A.
        num_actions: A.
        dataset_dict: of the key frame, for the message.

    Raises:
        UserError: for an action that the model does not have.
    """
    actions = torch.zeros(len(annotations), num_actions)
    for row, annotation in enumerate(annotations):
        if not all(0 <= action < num_actions for action in annotation["actions"]):
            raise UserError(
                f"key frame {dataset_dict['timestamp']:g} s of video "
                f"{dataset_dict['video_id']!r} has the actions {annotation['actions']}, but "
                f"MODEL.NUM_ACTIONS is {num_actions}"
            )
        actions[row, annotation["actions"]] = 1
    return actions
