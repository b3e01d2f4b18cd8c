"""Layers that know no config."""

from .attention import MultiHeadAttention
from .batch_norm import FrozenBatchNorm3d, get_norm_3d
from .depthwise_conv import DepthwiseConv3d
from .position_encoding import sine_position_encoding_3d

__all__ = [
    "DepthwiseConv3d",
    "FrozenBatchNorm3d",
    "MultiHeadAttention",
    "get_norm_3d",
    "sine_position_encoding_3d",
]
