"""Video backbones and what turns their maps into a head's input."""

from .csn import CSN, ClipShapeSpec, build_csn_backbone
from .temporal_pooling import TEMPORAL_POOLING_TYPES, TemporalPooling

__all__ = [
    "CSN",
    "ClipShapeSpec",
    "TEMPORAL_POOLING_TYPES",
    "TemporalPooling",
    "build_csn_backbone",
]
