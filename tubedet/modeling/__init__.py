"""Backbones, transformers, heads, losses and architectures."""

from .backbone import (
    CSN,
    ClipShapeSpec,
    TemporalPooling,
    ViT,
    ViTPyramid,
    build_csn_backbone,
    build_vit_backbone,
    build_vit_pyramid_backbone,
)
from .clip_batch import ClipBatch
from .losses import LayerOutput, SetCriterion
from .matcher import HungarianMatcher
from .meta_arch import (
    ClassQueryDetector,
    ClipDetector,
    ClipModel,
    DeformableTubeR,
    RoIActionDetector,
    SeqFormer,
    SparseRCNN,
    STMixer,
    TubeR,
)
from .postprocessing import detections_from_queries
from .preparation import prepare_for_inference
from .targets import ClipTarget

__all__ = [
    "CSN",
    "ClassQueryDetector",
    "ClipBatch",
    "ClipDetector",
    "ClipModel",
    "ClipShapeSpec",
    "ClipTarget",
    "DeformableTubeR",
    "HungarianMatcher",
    "LayerOutput",
    "RoIActionDetector",
    "STMixer",
    "SeqFormer",
    "SetCriterion",
    "SparseRCNN",
    "TemporalPooling",
    "TubeR",
    "ViT",
    "ViTPyramid",
    "build_csn_backbone",
    "build_vit_backbone",
    "build_vit_pyramid_backbone",
    "detections_from_queries",
    "prepare_for_inference",
]
