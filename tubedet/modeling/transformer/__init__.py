"""Encoders and decoders."""

from .class_query import ClassQueryTransformer, DecodedLayer
from .context_encoder import ContextEncoder
from .deformable import DeformableEncoder, DeformableTransformer, deformable_arguments
from .detr import DETRTransformer, TransformerDecoderLayer
from .encoder_proposals import EncoderProposals
from .level_tokens import LevelTokens
from .seqformer_transformer import SeqFormerTransformer
from .stmixer import STMixerDecoder

__all__ = [
    "ClassQueryTransformer",
    "ContextEncoder",
    "DETRTransformer",
    "DecodedLayer",
    "DeformableEncoder",
    "DeformableTransformer",
    "EncoderProposals",
    "LevelTokens",
    "STMixerDecoder",
    "SeqFormerTransformer",
    "TransformerDecoderLayer",
    "deformable_arguments",
]
