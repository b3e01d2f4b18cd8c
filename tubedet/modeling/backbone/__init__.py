"""Video backbones and what turns their maps into a head's input."""

from .csn import CSN, ClipShapeSpec, build_csn_backbone
from .csn_fpn import TimePooledCSN, build_csn_fpn_backbone
from .lateral_pyramid import LateralPyramid, build_csn_lateral_backbone
from .multi_level_projection import MultiLevelProjection
from .slowfast import SlowFast, build_slowfast_backbone, build_slowfast_lateral_backbone
from .step_pooling import StepPooling
from .temporal_collapse import TemporalCollapse
from .temporal_pooling import TEMPORAL_POOLING_TYPES, MapPooling, TemporalPooling
from .vit import (
    ViT,
    ViTPyramid,
    build_vit_backbone,
    build_vit_pyramid_2d_backbone,
    build_vit_pyramid_backbone,
)

__all__ = [
    "CSN",
    "ClipShapeSpec",
    "LateralPyramid",
    "MapPooling",
    "MultiLevelProjection",
    "SlowFast",
    "StepPooling",
    "TEMPORAL_POOLING_TYPES",
    "TemporalCollapse",
    "TemporalPooling",
    "TimePooledCSN",
    "ViT",
    "ViTPyramid",
    "build_csn_backbone",
    "build_csn_fpn_backbone",
    "build_csn_lateral_backbone",
    "build_slowfast_backbone",
    "build_slowfast_lateral_backbone",
    "build_vit_backbone",
    "build_vit_pyramid_2d_backbone",
    "build_vit_pyramid_backbone",
]
