"""Layers that know no config."""

from .attention import MultiHeadAttention
from .batch_norm import FrozenBatchNorm3d, get_norm_3d
from .deformable_attention import MultiScaleDeformableAttention
from .depthwise_conv import DepthwiseConv3d, depthwise_gradients
from .position_encoding import sine_encoding, sine_position_encoding_2d, sine_position_encoding_3d
from .precision import at_least_float32, precise_linear, without_autocast

__all__ = [
    "DepthwiseConv3d",
    "FrozenBatchNorm3d",
    "MultiHeadAttention",
    "MultiScaleDeformableAttention",
    "at_least_float32",
    "depthwise_gradients",
    "get_norm_3d",
    "precise_linear",
    "sine_encoding",
    "sine_position_encoding_2d",
    "sine_position_encoding_3d",
    "without_autocast",
]
