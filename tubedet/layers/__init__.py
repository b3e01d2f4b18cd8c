"""Layers that know no config."""

from .attention import MultiHeadAttention
from .batch_norm import FrozenBatchNorm3d, get_norm_3d
from .deformable_attention import MultiScaleDeformableAttention
from .position_encoding import sine_encoding, sine_position_encoding_2d, sine_position_encoding_3d
from .precision import at_least_float32, precise_linear, without_autocast
from .tf32 import without_tf32

__all__ = [
    "FrozenBatchNorm3d",
    "MultiHeadAttention",
    "MultiScaleDeformableAttention",
    "at_least_float32",
    "get_norm_3d",
    "precise_linear",
    "sine_encoding",
    "sine_position_encoding_2d",
    "sine_position_encoding_3d",
    "without_autocast",
    "without_tf32",
]
