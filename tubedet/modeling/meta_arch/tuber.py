"""TubeR: tubelet transformer for video action detection.

Zhao et al., "TubeR: Tubelet Transformer for Video Action Detection", CVPR 2022
(https://arxiv.org/abs/2104.00969). Architecture, losses and post-processing follow the released
code (amazon-science/tubelet-transformer), which differs from the paper: with key-frame queries
there are no tubelets but one DETR on the key frame.
"""

from collections.abc import Iterable
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from tubedet.errors import UserError
from tubedet.layers import sine_position_encoding_3d
from tubedet.modeling.backbone import TemporalPooling
from tubedet.modeling.backbone.map_shapes import map_shapes
from tubedet.modeling.clip_batch import ClipBatch
from tubedet.modeling.heads import BoxHead, ContextActionHead
from tubedet.modeling.losses import LayerOutput
from tubedet.modeling.transformer import DETRTransformer

from .context_detector import ContextDetector

QUERY_TYPES = ("key_frame", "tubelet")


@META_ARCH_REGISTRY.register()
class TubeR(ContextDetector):
    """A backbone, temporal pooling, a DETR for persons, and a context branch for their actions.

    Args:
        query_type: "key_frame": queries of the key frame (AVA). "tubelet": ``num_queries`` queries
            for every frame slot (JHMDB); those of the key frame's slot are trained and reported.
        num_queries: queries of the key frame, or of each frame.
        num_frames: frames of a clip, T; fixes the number of tubelet queries.
        temporal_pooling: see :class:`TemporalPooling`.
        hidden_dim: channels C of the transformer.
        num_heads: attention heads of the transformer.
        feedforward_dim: hidden channels of its feed-forward layers.
        enc_layers: encoder layers.
        dec_layers: decoder layers.
        dropout: of all attention and feed-forward layers.
        action_dropout: before the action classifier.
        action_prior: see :class:`ContextActionHead`; without effect on exclusive actions.
        mask_context: keep padded cells out of the action branch.
        repeat_equal_work: see :class:`TemporalPooling` and :class:`ContextActionHead`.
        **detector: arguments of :class:`ClipDetector`; the backbone returns one 5-D map. Each
            query decides between person and no object, unless actions are exclusive: then "no
            object" is one of the actions, and tubelets come with a visibility decision per clip.

    Raises:
        UserError: for an unknown query type, or a backbone that returns several maps.
    """

    @configurable
    def __init__(
        self,
        *,
        query_type: str,
        num_queries: int,
        num_frames: int,
        temporal_pooling: str,
        hidden_dim: int,
        num_heads: int,
        feedforward_dim: int,
        enc_layers: int,
        dec_layers: int,
        dropout: float,
        action_dropout: float,
        action_prior: float,
        mask_context: bool,
        repeat_equal_work: bool = False,
        **detector: Any,
    ):
        super().__init__(**detector)
        if query_type not in QUERY_TYPES:
            raise UserError(
                f"MODEL.TUBER.QUERY_TYPE is {query_type!r}; choose one of {QUERY_TYPES}"
            )
        shapes = map_shapes(self.backbone, type(self).__name__)
        if len(shapes) != 1:
            raise UserError(
                f"TubeR takes one backbone map, not {[*shapes]}; name one in "
                "MODEL.CSN.OUT_FEATURES, or set MODEL.BACKBONE.NAME build_vit_backbone for a ViT"
            )
        ((self.in_feature, shape),) = shapes.items()
        tubelets = query_type == "tubelet"
        self.num_queries = num_queries
        self.key_slot = num_frames // 2 if tubelets else 0

        self.temporal_pooling = TemporalPooling(
            temporal_pooling, shape.channels, num_heads, dropout, repeat_equal_work
        )
        self.input_proj = nn.Conv3d(shape.channels, hidden_dim, 1)
        self.query_embed = nn.Embedding(num_queries * (num_frames if tubelets else 1), hidden_dim)
        self.transformer = DETRTransformer(
            dim=hidden_dim,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            enc_layers=enc_layers,
            dec_layers=dec_layers,
            dropout=dropout,
        )
        self.box_head = BoxHead(hidden_dim)
        self.person_head: nn.Linear | None = None
        if not self.exclusive:
            self.person_head = nn.Linear(hidden_dim, 3)
        elif tubelets:
            self.person_head = nn.Linear(shape.channels, 2)
        self.action_head: ContextActionHead | None = None
        if not self.person_only:
            self.action_head = ContextActionHead(
                in_channels=shape.channels,
                dim=hidden_dim,
                num_heads=num_heads,
                feedforward_dim=feedforward_dim,
                num_outputs=self.num_outputs,
                dropout=dropout,
                action_dropout=action_dropout,
                action_prior=0.5 if self.exclusive else action_prior,
                mask_context=mask_context,
                repeat_equal_work=repeat_equal_work,
            )
        self.add_memory_reader(hidden_dim)

    @classmethod
    def from_config(cls, cfg):
        """Return the arguments of the constructor according to a config."""
        tuber = cfg.MODEL.TUBER
        return {
            **cls.shared_arguments(cfg, tuber),
            "query_type": tuber.QUERY_TYPE,
            "num_queries": tuber.NUM_QUERIES,
            "num_frames": cfg.INPUT.CLIP.NUM_FRAMES,
            "temporal_pooling": tuber.TEMPORAL_POOLING,
            "hidden_dim": tuber.HIDDEN_DIM,
            "num_heads": tuber.NUM_HEADS,
            "feedforward_dim": tuber.FEEDFORWARD_DIM,
            "enc_layers": tuber.ENC_LAYERS,
            "dec_layers": tuber.DEC_LAYERS,
            "dropout": tuber.DROPOUT,
            "action_dropout": tuber.ACTION_DROPOUT,
            "action_prior": tuber.ACTION_PRIOR,
            "mask_context": tuber.MASK_CONTEXT,
        }

    def predict(
        self, clips: ClipBatch, all_layers: bool = False, with_attention: bool = False
    ) -> list[LayerOutput]:
        """See :meth:`ContextDetector.predict`; of tubelets, the queries of the key frame's slot."""
        start = self.key_slot * self.num_queries
        rows = slice(start, start + self.num_queries)
        layers = self.predict_all_slots(clips, all_layers, with_attention)
        for layer in layers:
            if layer.action_logits is not None:
                layer.action_logits = layer.action_logits[:, rows]
            if layer.action_features is not None:
                layer.action_features = layer.action_features[:, rows]
            if layer.context_attention is not None:
                layer.context_attention = layer.context_attention[:, rows]
            layer.boxes = layer.boxes[:, rows]
            if not self.exclusive and layer.person_logits is not None:
                layer.person_logits = layer.person_logits[:, rows]
        return layers

    def predict_all_slots(
        self, clips: ClipBatch, all_layers: bool = False, with_attention: bool = False
    ) -> list[LayerOutput]:
        """Raw predictions of all queries, for tubelets slot by slot.

        Args:
            clips: normalised and padded.
            all_layers: also those of the earlier decoder layers.
            with_attention: see :meth:`predict`.

        Returns:
            predictions of the decoder layers asked for, first to last.
        """
        features = self.features(clips)[self.in_feature]
        memory = self.temporal_pooling(features)
        mask = clips.mask_at(*features.shape[-2:])
        memory_mask = mask[:, None].expand(-1, memory.shape[2], -1, -1)
        pos = sine_position_encoding_3d(memory_mask, self.query_embed.embedding_dim)
        queries = self.transformer(
            self.input_proj(memory), pos.to(memory.dtype), memory_mask, self.query_embed.weight
        )
        if not all_layers:
            queries = queries[-1:]

        boxes = self.box_head(queries)
        action_logits: Iterable[torch.Tensor | None] = [None] * len(queries)
        gathered, attention = queries, None
        if self.action_head is not None:
            action_logits, gathered, attention = self.action_head(
                queries, features, mask, details=True, with_attention=with_attention
            )
        person_logits: Iterable[torch.Tensor | None] = [None] * len(queries)
        if self.person_head is not None and self.exclusive:
            person_logits = [self.person_head(features.mean((2, 3, 4)))] * len(queries)
        elif self.person_head is not None:
            person_logits = self.person_head(queries)
        layers = [LayerOutput(*layer) for layer in zip(action_logits, boxes, person_logits)]
        return self.with_context_attention(self.with_features(layers, gathered), attention)
