"""Pictures of detections for TensorBoard, in the evaluations of a training (``TEST.PICTURES``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import nn

from tubedet.modeling import prepare_for_inference

from .dataset_lists import evenly_sampled, read_key_frames
from .evaluation_precision import EvaluatedModel, evaluation_dtype

# From a config, an evaluated model and key frames to the name of each and its picture, uint8
# (H, W, 3), RGB.
Draw = Callable[[CfgNode, nn.Module, Sequence[dict]], Iterator[tuple[str, np.ndarray]]]

MAX_PICTURES = 64  # of a data set, in every evaluation


def put_pictures(cfg: CfgNode, model: nn.Module, draw: Draw) -> None:
    """Let some key frames of each test set be drawn; the next writing to TensorBoard takes them.

    All processes of a run call it together; the main process draws.

    Args:
        cfg: of the training.
        model: that is evaluated.
        draw: such as :func:`tubedet.inference.evaluation_pictures.draw_evaluation`.
    """
    dtype = evaluation_dtype(cfg.TEST.AMP, cfg.MODEL.DEVICE)
    for name in cfg.DATASETS.TEST:
        key_frames = read_key_frames(cfg, [name], is_train=False)
        if not comm.is_main_process():
            continue
        evaluated = EvaluatedModel(prepare_for_inference(model, dtype), dtype)
        for title, picture in draw(cfg, evaluated, evenly_sampled(key_frames, cfg.TEST.PICTURES)):
            get_event_storage().put_image(f"{name}/{title}", picture.transpose(2, 0, 1))
