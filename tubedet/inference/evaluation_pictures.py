"""Detections of a model that trains, beside the annotations, for TensorBoard."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import BoxMode
from torch import nn

from tubedet.data import ClipDatasetMapper
from tubedet.data.clip_instances import pixel_boxes
from tubedet.data.video.reader import VideoError

from .action_names import names_and_origin
from .drawing import ActionVisualizer

logger = logging.getLogger(__name__)

_MIN_SCORE = 0.3


def draw_evaluation(
    cfg: CfgNode, model: nn.Module, key_frames: Sequence[dict]
) -> Iterator[tuple[str, np.ndarray]]:
    """Draw what a model detects in key frames, and what is annotated there.

    Args:
        cfg: of the model.
        model: in evaluation mode; its results are on the CPU.
        key_frames: dataset dicts.

    Yields:
        the name of a key frame, such as "-5KQ66BBWC4 at 902 s", and uint8 (H, W, 3), RGB:
        detections from a score of 0.3 on the left, annotations on the right. Key frames that
        cannot be read are left out, with a warning.
    """
    visualizer = ActionVisualizer(names_and_origin(cfg)[0])
    mapper = ClipDatasetMapper(cfg, is_train=False)
    for key_frame in key_frames:
        try:
            clip_input = mapper(key_frame)
        except VideoError as error:
            logger.warning(f"no picture for TensorBoard: {error}")
            continue
        assert clip_input is not None  # in evaluation no key frame takes the place of another
        with torch.no_grad():
            (result,) = model([clip_input])
        clip = clip_input["clip"]
        frame = np.ascontiguousarray(clip[:, clip.shape[1] // 2].permute(1, 2, 0).cpu().numpy())
        found = visualizer.draw_detections(frame, result["instances"], score_threshold=_MIN_SCORE)
        size = clip_input["height"], clip_input["width"]
        truth = visualizer.draw_annotations(frame, _as_fractions(key_frame, size, cfg))
        name = f"{key_frame['video_id']} at {key_frame['timestamp']:g} s"
        yield name, cv2.hconcat([found, truth])


def _as_fractions(key_frame: dict, size: tuple[int, int], cfg: CfgNode) -> list[dict]:
    """Return the annotations for a frame of any size; a person detector's only action is 0."""
    annotations = key_frame.get("annotations", [])
    height, width = size
    boxes = pixel_boxes(annotations, height, width) / (width, height, width, height)
    return [
        {
            **annotation,
            "bbox": box,
            "bbox_mode": BoxMode.XYXY_REL,
            "actions": [0] if cfg.MODEL.PERSON_ONLY else annotation["actions"],
        }
        for annotation, box in zip(annotations, boxes)
    ]
