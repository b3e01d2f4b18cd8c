"""Layers that know no config."""

from .attention import MultiHeadAttention, PlainAttention
from .batch_norm import EvaluatedBatchNorm3d, FrozenBatchNorm3d, get_norm_3d
from .boxes import corners, generalized_iou
from .deformable_attention import MultiScaleDeformableAttention
from .deformable_attention_3d import MultiScaleDeformableAttention3d
from .position_encoding import sine_encoding, sine_position_encoding_2d, sine_position_encoding_3d
from .precision import (
    LayerNorm,
    PreciseLinear,
    as_autocast,
    at_least_float32,
    autocast_dtype,
    precise_linear,
    without_autocast,
)
from .tf32 import convolutions_use_tf32, products_like_convolutions, without_tf32
from .transfers import HostCopy, to_device

__all__ = [
    "EvaluatedBatchNorm3d",
    "FrozenBatchNorm3d",
    "HostCopy",
    "LayerNorm",
    "MultiHeadAttention",
    "MultiScaleDeformableAttention",
    "MultiScaleDeformableAttention3d",
    "PlainAttention",
    "PreciseLinear",
    "as_autocast",
    "at_least_float32",
    "autocast_dtype",
    "convolutions_use_tf32",
    "corners",
    "generalized_iou",
    "get_norm_3d",
    "precise_linear",
    "products_like_convolutions",
    "sine_encoding",
    "sine_position_encoding_2d",
    "sine_position_encoding_3d",
    "to_device",
    "without_autocast",
    "without_tf32",
]
