"""Where a model looks for the action of a box that an evaluation shows."""

from __future__ import annotations

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from torch import nn
from torchvision.ops import box_iou

from tubedet.data.dataset_mapper import ClipDatasetMapper
from tubedet.engine.model_loading import load_model
from tubedet.evaluation.error_examples import Example
from tubedet.modeling import prepare_for_inference

from .action_names import find_actions, names_and_origin
from .attention import resized_attention
from .clip_inference import ClipInference, check_explains
from .drawing import blend_heat, heat_colour

# A person of the model is that of the box from this intersection over union on.
_SAME_PERSON = 0.5


class ExampleAttention:
    """Draws on the key frame of an example where a model looks for its action.

    Args:
        cfg: of the model, whose weights it names, and of its input.
        model: None: that of the config, see :func:`tubedet.load_model`.

    Attributes:
        meaning: what the heat says, for the reader of a report.

    Raises:
        UserError: if the model cannot explain actions.
    """

    def __init__(self, cfg: CfgNode, model: nn.Module | None = None):
        model = load_model(cfg) if model is None else model
        check_explains(model)
        self.meaning = "where the model looks for the action"
        if not model.attends_by_action:
            self.meaning = "where the model looks for all actions of the person at once"
        self.action_names, _ = names_and_origin(cfg, model)
        self._explain = ClipInference(
            prepare_for_inference(model), explain=range(len(self.action_names))
        )
        self._mapper = ClipDatasetMapper(cfg, is_train=False)
        # Examples come sorted, and several may show the same key frame.
        self._last: tuple[tuple[str, float], Instances] | None = None

    def __call__(self, frame_rgb: np.ndarray, record: dict, example: Example) -> np.ndarray:
        """Return the frame with the heat.

        Args:
            frame_rgb: uint8 (H, W, 3), RGB, the key frame in any size.
            record: dataset dict of the key frame.
            example: the box and its action. Of the persons that the model finds, the one who
                overlaps it most is explained; without one at half of it the frame stays as it is.

        Raises:
            UserError: if the model does not know the action.
            VideoError: if the clip cannot be read.
        """
        (column,) = find_actions(self.action_names, example.class_name)
        persons = self._persons(record)
        height, width = persons.image_size
        box = torch.tensor([example.box]) * torch.tensor([width, height, width, height])
        overlaps = box_iou(persons.pred_boxes.tensor, box)[:, 0]
        if not (overlaps >= _SAME_PERSON).any():
            return frame_rgb
        attention = persons.action_attention[overlaps.argmax(), column]
        heat = resized_attention(attention, *frame_rgb.shape[:2])
        return blend_heat(frame_rgb, [heat], [heat_colour(0)])

    def _persons(self, record: dict) -> Instances:
        key = record["video_id"], record["timestamp"]
        if self._last is None or self._last[0] != key:
            (persons,) = self._explain([self._mapper(record)])
            self._last = key, persons
        return self._last[1]
