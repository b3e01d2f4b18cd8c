"""The transformer of the class-query detector."""

from .classifying import ClassifyingLayer
from .decoder import ClassQueryDecoder, DecodedLayer
from .grid import FrameMemory, interpolation_matrix
from .localizing import LocalizingLayer
from .transformer import ClassQueryTransformer

__all__ = [
    "ClassQueryDecoder",
    "ClassQueryTransformer",
    "ClassifyingLayer",
    "DecodedLayer",
    "FrameMemory",
    "LocalizingLayer",
    "interpolation_matrix",
]
