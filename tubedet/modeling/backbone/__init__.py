"""Video backbones and what turns their maps into a head's input."""

from .csn import CSN, ClipShapeSpec, build_csn_backbone
from .csn_fpn import TimePooledCSN, build_csn_fpn_backbone
from .multi_level_projection import MultiLevelProjection
from .step_pooling import StepPooling
from .temporal_collapse import TemporalCollapse
from .temporal_pooling import TEMPORAL_POOLING_TYPES, TemporalPooling

__all__ = [
    "CSN",
    "ClipShapeSpec",
    "MultiLevelProjection",
    "StepPooling",
    "TEMPORAL_POOLING_TYPES",
    "TemporalCollapse",
    "TemporalPooling",
    "TimePooledCSN",
    "build_csn_backbone",
    "build_csn_fpn_backbone",
]
