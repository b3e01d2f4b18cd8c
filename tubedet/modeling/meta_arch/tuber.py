"""TubeR: tubelet transformer for video action detection.

Zhao et al., "TubeR: Tubelet Transformer for Video Action Detection", CVPR 2022
(https://arxiv.org/abs/2104.00969). Architecture, losses and post-processing follow the released
code (amazon-science/tubelet-transformer), which differs from the paper: with key-frame queries
there are no tubelets but one DETR on the key frame.
"""

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.structures import Boxes
from torch import nn
from torchvision.ops import box_convert

from tubedet.layers import sine_position_encoding_3d

from ..backbone import TemporalPooling
from ..clip_batch import ClipBatch
from ..heads import BoxHead, ContextActionHead
from ..losses import ClipTarget, LayerOutput, SetCriterion
from ..matcher import HungarianMatcher
from ..postprocessing import detections_from_queries
from ..transformer import DETRTransformer

QUERY_TYPES = ("key_frame", "tubelet")


@META_ARCH_REGISTRY.register()
class TubeR(nn.Module):
    """CSN, temporal pooling, a DETR for persons, and a context branch for their actions.

    Args:
        backbone: returns one 5-D map, see :class:`CSN`.
        query_type: "key_frame": queries of the key frame, independent actions, a person/no object
            decision per query (AVA). "tubelet": ``num_queries`` queries for every frame slot, one
            action per person, a visibility decision per clip (JHMDB); the queries of the key
            frame's slot are trained and reported.
        num_actions: A.
        num_queries: queries of the key frame, or of each frame.
        num_frames: frames of a clip, T; fixes the number of tubelet queries.
        temporal_pooling: see :class:`TemporalPooling`.
        hidden_dim: channels C of the transformer.
        num_heads, feedforward_dim, enc_layers, dec_layers, dropout: of the transformer.
        action_dropout: before the action classifier.
        action_prior: see :class:`ContextActionHead`; 0.5 with exclusive actions.
        mask_context: keep padded cells out of the action branch.
        aux_loss: losses on all decoder layers.
        person_thresh: see :func:`detections_from_queries`.
        criterion: computes the losses.
        pixel_mean, pixel_std: RGB statistics on 0..255.

    Raises:
        ValueError: for an unknown query type, or a backbone that returns several maps.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        query_type: str,
        num_actions: int,
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
        aux_loss: bool,
        person_thresh: float,
        criterion: SetCriterion,
        pixel_mean: list[float],
        pixel_std: list[float],
    ):
        super().__init__()
        if query_type not in QUERY_TYPES:
            raise ValueError(
                f"MODEL.TUBER.QUERY_TYPE is {query_type!r}; choose one of {QUERY_TYPES}"
            )
        shapes = backbone.output_shape()
        if len(shapes) != 1:
            raise ValueError(f"TubeR takes one backbone map, MODEL.CSN.OUT_FEATURES: {[*shapes]}")
        ((self.in_feature, shape),) = shapes.items()
        tubelets = query_type == "tubelet"
        self.backbone = backbone
        self.exclusive = tubelets
        self.num_actions = num_actions
        self.num_queries = num_queries
        self.key_slot = num_frames // 2 if tubelets else 0
        self.aux_loss = aux_loss
        self.person_thresh = person_thresh
        self.criterion = criterion

        self.temporal_pooling = TemporalPooling(
            temporal_pooling, shape.channels, num_heads, dropout
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
        self.person_head = nn.Linear(shape.channels, 2) if tubelets else nn.Linear(hidden_dim, 3)
        self.action_head = ContextActionHead(
            in_channels=shape.channels,
            dim=hidden_dim,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            num_outputs=num_actions + int(self.exclusive),
            dropout=dropout,
            action_dropout=action_dropout,
            action_prior=action_prior,
            mask_context=mask_context,
        )
        for name, value in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            value = torch.tensor([v / 255 for v in value]).view(3, 1, 1, 1)
            self.register_buffer(name, value, persistent=False)

    @classmethod
    def from_config(cls, cfg):
        tuber = cfg.MODEL.TUBER
        criterion = SetCriterion(
            matcher=HungarianMatcher(
                cost_class=tuber.COST_CLASS,
                cost_bbox=tuber.COST_BBOX,
                cost_giou=tuber.COST_GIOU,
            ),
            exclusive=tuber.QUERY_TYPE == "tubelet",
            weights={
                "loss_ce": tuber.ACTION_LOSS_WEIGHT,
                "loss_ce_b": tuber.PERSON_LOSS_WEIGHT,
                "loss_bbox": tuber.BBOX_LOSS_WEIGHT,
                "loss_giou": tuber.GIOU_LOSS_WEIGHT,
            },
            no_object_weight=tuber.NO_OBJECT_WEIGHT,
            matched_action_weight=tuber.MATCHED_ACTION_WEIGHT,
        )
        return {
            "backbone": build_backbone(cfg),
            "query_type": tuber.QUERY_TYPE,
            "num_actions": cfg.MODEL.NUM_ACTIONS,
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
            "aux_loss": tuber.AUX_LOSS,
            "person_thresh": tuber.PERSON_THRESH,
            "criterion": criterion,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        """Where inputs are moved to."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]):
        """Detect, or compute losses.

        Args:
            batched_inputs: per clip a dict with ``clip`` uint8 (3, T, H, W) RGB; for training
                ``instances`` with ``gt_boxes`` (XYXY pixels of the clip) and ``gt_actions``
                (N, A); for inference optionally ``height`` and ``width``, the size in which boxes
                are wanted (default: the clip's).

        Returns:
            In training mode a dict of weighted scalar losses. Otherwise ``[{"instances": ...}]``,
            see :func:`detections_from_queries`.

        Raises:
            ValueError: in training mode, for an input without ``instances``.
        """
        clips = ClipBatch.from_clips(
            [x["clip"] for x in batched_inputs], self.pixel_mean, self.pixel_std
        )
        layers = self.predict(clips, all_layers=self.training and self.aux_loss)
        layers = [self._key_frame_queries(layer) for layer in layers]
        if self.training:
            return self.criterion(layers, self._targets(batched_inputs, clips.sizes))
        sizes = [
            (x.get("height", h), x.get("width", w))
            for x, (h, w) in zip(batched_inputs, clips.sizes)
        ]
        detections = detections_from_queries(
            layers[-1], sizes, exclusive=self.exclusive, person_thresh=self.person_thresh
        )
        return [{"instances": instances} for instances in detections]

    def predict(self, clips: ClipBatch, all_layers: bool = False) -> list[LayerOutput]:
        """Raw predictions of all queries.

        Args:
            clips: normalised and padded.
            all_layers: also those of the earlier decoder layers.

        Returns:
            predictions of the decoder layers asked for, first to last.
        """
        features = self.backbone(clips.tensor)[self.in_feature]
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
        action_logits = self.action_head(queries, features, mask)
        if self.exclusive:
            visibility = self.person_head(features.mean((2, 3, 4)))
            person_logits = visibility.expand(len(queries), -1, -1)
        else:
            person_logits = self.person_head(queries)
        return [LayerOutput(*layer) for layer in zip(action_logits, person_logits, boxes)]

    def _key_frame_queries(self, layer: LayerOutput) -> LayerOutput:
        start = self.key_slot * self.num_queries
        rows = slice(start, start + self.num_queries)
        return LayerOutput(layer.action_logits[:, rows], layer.person_logits, layer.boxes[:, rows])

    def _targets(self, batched_inputs, sizes) -> list[ClipTarget]:
        targets = []
        for x, (height, width) in zip(batched_inputs, sizes):
            if "instances" not in x:
                raise ValueError(
                    f"training input {x.get('video_id')!r} at {x.get('timestamp')} s has no "
                    "'instances'; was the mapper built with is_train=False?"
                )
            boxes: Boxes = x["instances"].gt_boxes.to(self.device)
            actions = x["instances"].gt_actions.to(self.device)
            if actions.shape[-1] != self.num_actions:
                raise ValueError(
                    f"'gt_actions' has {actions.shape[-1]} columns, MODEL.NUM_ACTIONS is "
                    f"{self.num_actions}"
                )
            scale = self.pixel_mean.new_tensor([width, height, width, height])
            normalised = boxes.tensor.to(scale) / scale
            targets.append(ClipTarget(box_convert(normalised, "xyxy", "cxcywh"), actions))
        return targets
