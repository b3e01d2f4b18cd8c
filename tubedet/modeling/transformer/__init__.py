"""Encoders and decoders."""

from .context_encoder import ContextEncoder
from .detr import DETRTransformer, TransformerDecoderLayer

__all__ = ["ContextEncoder", "DETRTransformer", "TransformerDecoderLayer"]
