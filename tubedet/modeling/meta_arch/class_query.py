"""The class-query detector, with a CSN or a video ViT.

"Classification Matters: Improving Video Action Detection with Class-Specific Attention", ECCV 2024
(https://arxiv.org/abs/2407.19698). Architecture and arithmetic follow the released code
(naver-ai/class-query-vad); what it computes by mistake is an option, whose default its released
weights need.
"""

from dataclasses import replace
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from tubedet.errors import UserError
from tubedet.modeling.backbone import MultiLevelProjection
from tubedet.modeling.backbone.map_shapes import map_shapes
from tubedet.modeling.clip_batch import ClipBatch
from tubedet.modeling.heads import BoxHead, set_prior
from tubedet.modeling.losses import LayerOutput
from tubedet.modeling.transformer import ClassQueryTransformer, DecodedLayer

from .clip_detector import ClipDetector

FRAMES = ("key", "all")


@META_ARCH_REGISTRY.register()
class ClassQueryDetector(ClipDetector):
    """A video pyramid, a deformable encoder in space and time, and queries of persons and classes.

    Args:
        frames: "key": detect in the key frame (AVA). "all": in every frame, each with anchors of
            its own; the outputs of a layer then have a side F = T after that of the clips.
        num_queries: Q, of each frame.
        num_frames: frames of a clip, T; fixes the number of anchors of "all".
        hidden_dim: channels C of the transformer, a multiple of 32.
        num_heads: attention heads of the transformer.
        feedforward_dim: hidden channels of its feed-forward layers.
        enc_layers: encoder layers.
        dec_layers: pairs of decoder layers.
        dropout: of all attention and feed-forward layers.
        action_dropout: see :class:`ClassQueryDecoder`.
        action_prior: initial probability of every independent action.
        action_spread: standard deviation of the initial weights of the norm whose outputs become
            the action logits by their mean. At 0 (published) no class vector has a gradient until
            these weights or a dropout differ between channels.
        num_levels: levels of the pyramid. If the backbone returns so many maps of ``hidden_dim``
            channels, these are the levels. Otherwise its maps are projected and coarser levels
            added, see :class:`MultiLevelProjection`.
        enc_points: points that a head of the encoder samples on a level.
        offset_normalizer: see :class:`MultiScaleDeformableAttention3d`.
        grid_level: see :class:`FrameGrid`.
        grid_positions: likewise.
        time_code: likewise.
        mask_classes: see :class:`ClassifyingLayer`.
        repeat_equal_work: see :class:`ClassQueryTransformer`.
        triton: see :class:`MultiScaleDeformableAttention3d`.
        **detector: arguments of :class:`ClipDetector`; the backbone returns several 5-D maps. Each
            query decides between person and no object.

    Raises:
        UserError: for an unknown option, or options that do not fit together.
    """

    @configurable
    def __init__(
        self,
        *,
        frames: str,
        num_queries: int,
        num_frames: int,
        hidden_dim: int,
        num_heads: int,
        feedforward_dim: int,
        enc_layers: int,
        dec_layers: int,
        dropout: float,
        action_dropout: float,
        action_prior: float,
        action_spread: float,
        num_levels: int,
        enc_points: int,
        offset_normalizer: str = "published",
        grid_level: int = 2,
        grid_positions: str = "published",
        time_code: str = "published",
        mask_classes: bool = False,
        repeat_equal_work: bool = False,
        triton: bool = False,
        **detector: Any,
    ):
        super().__init__(**detector)
        if frames not in FRAMES:
            raise UserError(f"MODEL.CLASS_QUERY.FRAMES is {frames!r}; choose one of {FRAMES}")
        shapes = map_shapes(self.backbone, type(self).__name__)
        self.in_features = list(shapes)
        channels = [shape.channels for shape in shapes.values()]
        self.input_proj: MultiLevelProjection | None = None
        if channels != [hidden_dim] * num_levels:
            self.input_proj = MultiLevelProjection(
                channels, hidden_dim, num_levels, space_time=True
            )
        self.num_queries = num_queries
        self.num_frames = num_frames
        self.num_steps = num_frames if frames == "all" else 1
        self.transformer = ClassQueryTransformer(
            dim=hidden_dim,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            enc_layers=enc_layers,
            dec_layers=dec_layers,
            dropout=dropout,
            action_dropout=action_dropout,
            num_levels=num_levels,
            enc_points=enc_points,
            num_classes=0 if self.person_only else self.num_outputs,
            offset_normalizer=offset_normalizer,
            grid_level=grid_level,
            grid_positions=grid_positions,
            time_code=time_code,
            mask_classes=mask_classes,
            repeat_equal_work=repeat_equal_work,
            triton=triton,
        )
        if not self.person_only and not self.exclusive:
            set_prior(self.transformer.decoder.cls_norm2, action_prior)
        if not self.person_only:
            nn.init.normal_(self.transformer.decoder.cls_norm2.weight, 1.0, action_spread)
        # Of "all", the anchors of a query in all frames follow each other.
        self.refpoint_embed = nn.Embedding(num_queries * self.num_steps, 4)
        self.box_head = BoxHead(hidden_dim)
        self.box_head.start_at_references()
        self.person_head = nn.Linear(hidden_dim, 3)
        if self.num_steps > 1 and self.has_memory:
            raise UserError(
                "MODEL.MEMORY is for key frames at seconds, but MODEL.CLASS_QUERY.FRAMES is 'all'; "
                "choose 'key', or set MODEL.MEMORY.ENABLED to False"
            )
        self.add_memory_reader(hidden_dim)

    @classmethod
    def from_config(cls, cfg):
        """Return the arguments of the constructor according to a config."""
        node = cfg.MODEL.CLASS_QUERY
        return {
            **cls.shared_arguments(cfg, node),
            "frames": node.FRAMES,
            "num_queries": node.NUM_QUERIES,
            "num_frames": cfg.INPUT.CLIP.NUM_FRAMES,
            "hidden_dim": node.HIDDEN_DIM,
            "num_heads": node.NUM_HEADS,
            "feedforward_dim": node.FEEDFORWARD_DIM,
            "enc_layers": node.ENC_LAYERS,
            "dec_layers": node.DEC_LAYERS,
            "dropout": node.DROPOUT,
            "action_dropout": node.ACTION_DROPOUT,
            "action_prior": node.ACTION_PRIOR,
            "action_spread": node.ACTION_SPREAD,
            "num_levels": node.NUM_LEVELS,
            "enc_points": node.ENC_POINTS,
            "offset_normalizer": node.OFFSET_NORMALIZER,
            "grid_level": node.GRID_LEVEL,
            "grid_positions": node.GRID_POSITIONS,
            "time_code": node.TIME_CODE,
            "mask_classes": node.MASK_CLASSES,
            "triton": cfg.MODEL.DEFORMABLE_TRITON,
            "score_times_person": node.SCORE_TIMES_PERSON,
        }

    def predict(self, clips: ClipBatch, all_layers: bool = False) -> list[LayerOutput]:
        """See :meth:`ClipDetector.predict`.

        Tensors of "all" frames are (B, F, Q, ...), those of the key frame (B, Q, ...).
        """
        return [self._output(layer) for layer in self._decode(clips, all_layers)]

    def predict_key_frame(self, clips: ClipBatch, all_layers: bool = False) -> list[LayerOutput]:
        """See :meth:`ClipDetector.predict_key_frame`; no other frame is decoded."""
        layers = self._decode(clips, all_layers, key_frame_only=True)
        return [self._output(layer, by_clip=False) for layer in layers]

    @property
    def explains_actions(self) -> bool:
        """See :attr:`ClipModel.explains_actions`."""
        return True

    def predict_with_attention(self, clips: ClipBatch) -> tuple[LayerOutput, torch.Tensor]:
        """See :meth:`ClipDetector.predict_with_attention`."""
        (layer,) = self._decode(clips, False, with_attention=True, key_frame_only=True)
        assert layer.class_attention is not None  # as it was asked for
        return self._output(layer, by_clip=False), layer.class_attention

    def class_attention(self, clips: ClipBatch) -> torch.Tensor:
        """Return where in its frame each class of a query looks, in the last decoder layer.

        The weights of a map, padding included, add up to one; they are the mean over the heads.

        Args:
            clips: normalised and padded.

        Returns:
            (B, Q, K, H, W), or (B, F, Q, K, H, W) with "all" frames, on the grid of ``grid_level``.

        Raises:
            UserError: if the model detects persons alone.
        """
        self.check_explains(())
        (layer,) = self._decode(clips, all_layers=False, with_attention=True)
        return self._by_clip(layer.class_attention)

    def _output(self, layer: Any, by_clip: bool = True) -> LayerOutput:
        tensors = [layer.action_logits, layer.boxes, self.person_head(layer.queries)]
        features = None
        if self.gives_features:
            # The vectors of the classes, each as much as its share of the probability.
            features = (layer.action_logits.softmax(-1)[..., None] * layer.class_vectors).sum(-2)
        if by_clip:
            *tensors, features = map(self._by_clip, (*tensors, features))
        return replace(LayerOutput(*tensors), action_features=features)

    def _by_clip(self, x: Any) -> Any:
        """(B · F, ...) -> (B, F, ...), unless F is the key frame alone."""
        return x if x is None or self.num_steps == 1 else x.unflatten(0, (-1, self.num_steps))

    def _decode(
        self, clips, all_layers, with_attention=False, key_frame_only=False
    ) -> list[DecodedLayer]:
        num_frames = clips.tensor.shape[2]
        if self.num_steps > 1 and num_frames != self.num_frames:
            raise UserError(
                f"a clip has {num_frames} frames, but with MODEL.CLASS_QUERY.FRAMES 'all' the "
                f"model has anchors for INPUT.CLIP.NUM_FRAMES, {self.num_frames}"
            )
        features = self.features(clips)
        maps = [features[name] for name in self.in_features]
        if self.input_proj is not None:
            maps = self.input_proj(maps)
        anchors = self.refpoint_embed.weight.sigmoid()
        anchors = anchors.view(self.num_queries, self.num_steps, 4).transpose(0, 1)
        frames = [num_frames // 2]
        if self.num_steps > 1 and key_frame_only:
            anchors = anchors[frames[0]][None]
        elif self.num_steps > 1:
            frames = list(range(num_frames))
        return self.transformer(
            maps,
            [clips.mask_at(*x.shape[-2:]) for x in maps],
            anchors,
            self.box_head,
            num_frames=num_frames,
            frames=frames,
            all_layers=all_layers,
            with_attention=with_attention,
        )
