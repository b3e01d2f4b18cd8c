"""A detector as a function of tensors: what is exported."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler
from torch import nn

from tubedet.layers import at_least_float32, corners
from tubedet.modeling.clip_batch import ClipBatch
from tubedet.modeling.meta_arch import ClipDetector, ClipModel, RoIActionDetector
from tubedet.modeling.postprocessing import scores_from_queries

from .export_errors import ExportError
from .max_pooling import pool_any_size
from .region_sampling import RegionSampling

# Names of what goes in and comes out.
INPUTS = ("clips",)
# The last one is that before the person threshold. Of random clips, in which nobody is seen, it is
# the one that shows whether actions are right.
OUTPUTS = ("boxes", "scores", "action_scores", "all_action_scores")


class ClipProgram(nn.Module):
    """Clips of one size to detections, as :class:`ClipDetector` in evaluation but in tensors only.

    Nothing in it depends on values, the regions of Sparse R-CNN are sampled by an operator that
    PyTorch and ONNX have, see :class:`RegionSampling`, and max poolings take maps of any size in
    every PyTorch, see :class:`~tubedet.export.max_pooling.AnySizeMaxPool3d`.

    Args:
        model: its parameters are shared; it is left as it is.

    Raises:
        ExportError: if the model is none of tubedet's, is given boxes (see
            :class:`.BoxProgram`), or pools regions in a way
            that cannot be exported.
    """

    def __init__(self, model: ClipModel):
        super().__init__()
        if isinstance(model, RoIActionDetector):
            raise ExportError("RoIActionDetector takes boxes beside clips: use BoxProgram")
        if not isinstance(model, ClipDetector):
            raise ExportError(f"MODEL.META_ARCHITECTURE {type(model).__name__} is not tubedet's")
        self.model = exportable_copy(model)
        pooler = getattr(getattr(model, "head", None), "box_pooler", None)
        if pooler is not None:
            self.model.get_submodule("head").box_pooler = RegionSampling(**_pooling(pooler))

    def forward(self, clips: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Detect in every clip.

        Args:
            clips: uint8 (B, 3, T, H, W), RGB, the key frame in slot T // 2.

        Returns:
            :data:`OUTPUTS`: boxes (B, Q, 4) XYXY as fractions of the clip's width and height,
            person probabilities (B, Q), action scores (B, Q, A) with and without
            ``PERSON_THRESH``; float32, in query order, none dropped.
        """
        model = self.model
        layer = model.predict_key_frame(exportable_batch(model, clips))[-1].of_key_frame()
        boxes = corners(at_least_float32(layer.boxes))
        if model.clip_boxes:
            boxes = boxes.clamp(0, 1)
        scores, all_action_scores = scores_from_queries(
            layer, model.exclusive, model.score_times_person
        )
        action_scores = all_action_scores * (scores > model.person_thresh)[..., None]
        return boxes, scores, action_scores, all_action_scores


def exportable_copy(model: ClipModel) -> Any:
    """Copy a model but for its weights, which are shared, with max poolings for any size.

    Args:
        model: it is left as it is.

    Returns:
        the copy, in evaluation mode.

    Raises:
        ExportError: if the model reads long-term context, which no file has.
    """
    if model.has_memory:
        raise ExportError("MODEL.MEMORY.ENABLED is True; set it to False to export the base model")
    # Modules are not shared: some of them are about to be replaced.
    shared = {id(x): x for x in (*model.parameters(), *model.buffers())}
    copied = copy.deepcopy(model, shared).eval()
    pool_any_size(copied)
    return copied


def exportable_batch(model: ClipModel, clips: torch.Tensor) -> ClipBatch:
    """Normalise and pad clips as a model does it, whatever their size is.

    Args:
        model: with its statistics of pixels.
        clips: uint8 (B, 3, T, H, W), RGB.
    """
    mean, std = model.pixel_mean, model.pixel_std
    batch, _, _, height, width = clips.shape
    pixels = ((clips.float() / 255 - mean.float()) / std.float()).to(mean.dtype)
    mask = torch.zeros((batch, height, width), dtype=torch.bool, device=clips.device)
    unit = model.backbone.size_divisibility
    if unit > 1:
        margin = (0, -width % unit, 0, -height % unit)
        pixels, mask = F.pad(pixels, margin), F.pad(mask, margin, value=True)
    return ClipBatch(pixels, mask, [(height, width)])


def _pooling(pooler: ROIPooler) -> dict:
    """Return the arguments of :class:`RegionSampling` that stand for a ``ROIPooler``."""
    aligns = list(pooler.level_poolers)
    if not all(isinstance(x, ROIAlign) and x.aligned and x.sampling_ratio > 0 for x in aligns):
        raise ExportError(
            "only regions pooled by MODEL.ROI_BOX_HEAD.POOLER_TYPE ROIAlignV2 with a positive "
            "POOLER_SAMPLING_RATIO can be exported; with 0 the number of samples depends on the box"
        )
    return {
        "resolution": pooler.output_size[0],
        "scales": [x.spatial_scale for x in aligns],
        "sampling_ratio": aligns[0].sampling_ratio,
        "min_level": pooler.min_level,
        "canonical_level": pooler.canonical_level,
        "canonical_box_size": pooler.canonical_box_size,
    }
