"""STMixer: queries that sample and mix features of the whole clip, in space, scale and time.

Wu et al., "STMixer: A One-Stage Sparse Action Detector", CVPR 2023
(https://arxiv.org/abs/2303.15879); arithmetic and parameter names of MCG-NJU/STMixer.
"""

from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY

from tubedet.errors import UserError
from tubedet.modeling.backbone.map_shapes import map_shapes
from tubedet.modeling.clip_batch import ClipBatch
from tubedet.modeling.heads import set_prior
from tubedet.modeling.losses import LayerOutput
from tubedet.modeling.transformer import STMixerDecoder
from tubedet.modeling.transformer.stmixer.box_state import box_fractions

from .clip_detector import ClipDetector


@META_ARCH_REGISTRY.register()
class STMixer(ClipDetector):
    """Maps of one width and one number of time steps, and a decoder that samples and mixes them.

    Boxes start as large as the clip. Released weights fit by their own names.

    Args:
        num_queries: N.
        num_stages: stages of the decoder.
        num_frames: frames of a clip, T; fixes the mixing over time.
        num_heads: heads of the attention among queries.
        feedforward_dim: hidden channels of the feed-forward layers.
        num_groups: groups of channels with points of their own.
        num_points: points of a group.
        out_multiplier: points that come out of a mixing for each that comes in.
        action_prior: initial probability of every independent action.
        **detector: see :class:`ClipDetector`. Each query decides between person and no object, and
            all stages have losses.

    Raises:
        UserError: if the maps of the backbone differ in channels or time steps, or numbers do not
            divide each other.
    """

    clip_boxes = True

    reads_sizes = True

    @configurable
    def __init__(
        self,
        *,
        num_queries: int,
        num_stages: int,
        num_frames: int,
        num_heads: int,
        feedforward_dim: int,
        num_groups: int,
        num_points: int,
        out_multiplier: int,
        action_prior: float,
        **detector: Any,
    ):
        super().__init__(**detector)
        shapes = map_shapes(self.backbone, type(self).__name__, "stride", "temporal_stride")
        self.in_features = list(shapes)
        forms = {(shape.channels, shape.temporal_stride) for shape in shapes.values()}
        dim, stride = forms.pop()
        if forms:
            raise UserError(
                "STMixer needs maps of equal channels and time steps; set MODEL.BACKBONE.NAME to "
                "build_csn_lateral_backbone or build_vit_pyramid_backbone"
            )
        if dim % num_groups or dim % 8:
            raise UserError(
                f"MODEL.FPN.OUT_CHANNELS is {dim}; it must be a multiple of 8 and of "
                f"MODEL.STMIXER.NUM_GROUPS, {num_groups}"
            )
        self.map_steps = num_frames // stride
        stage = {
            "dim": dim,
            "num_actions": 0 if self.person_only else self.num_outputs,
            "num_heads": num_heads,
            "feedforward_dim": feedforward_dim,
            "groups": num_groups,
            "num_points": num_points,
            "num_steps": self.map_steps,
            "out_multiplier": out_multiplier,
        }
        finest = min(shape.stride for shape in shapes.values())
        self.stm_head = STMixerDecoder(num_queries, num_stages, finest, stage)
        if not self.person_only and not self.exclusive:
            for decoder_stage in self.stm_head.decoder_stages:
                classifier: Any = decoder_stage.fc_action
                set_prior(classifier, action_prior)
        self.add_memory_reader(2 * dim)

    @classmethod
    def from_config(cls, cfg):
        """Return the arguments of the constructor according to a config."""
        node = cfg.MODEL.STMIXER
        return {
            **cls.shared_arguments(cfg, node),
            "num_queries": node.NUM_QUERIES,
            "num_stages": node.NUM_STAGES,
            "num_frames": cfg.INPUT.CLIP.NUM_FRAMES,
            "num_heads": node.NUM_HEADS,
            "feedforward_dim": node.FEEDFORWARD_DIM,
            "num_groups": node.NUM_GROUPS,
            "num_points": node.NUM_POINTS,
            "out_multiplier": node.OUT_MULTIPLIER,
            "action_prior": node.ACTION_PRIOR,
            "score_times_person": node.SCORE_TIMES_PERSON,
            "fallback_topk": node.FALLBACK_TOPK,
        }

    def predict(self, clips: ClipBatch, all_layers: bool = False) -> list[LayerOutput]:
        """See :meth:`ClipDetector.predict`; boxes may leave the clip.

        Raises:
            UserError: for clips of another length than the model was made for.
        """
        features = self.features(clips)
        maps = [features[name] for name in self.in_features]
        if maps[0].shape[2] != self.map_steps:
            raise UserError(
                f"the maps of a clip of {clips.tensor.shape[2]} frames have {maps[0].shape[2]} "
                f"time steps, but the model mixes {self.map_steps}; give clips of "
                "INPUT.CLIP.NUM_FRAMES frames"
            )
        like = self.stm_head.init_spatial_queries.weight

        def filled(sizes):
            # Filled, not listed: an exporter would take listed sizes for constants.
            sides = [like.new_full((), side) for size in sizes for side in reversed(size)]
            return torch.stack(sides).view(-1, 2)

        sides = filled(clips.sizes)[:, None]
        padded_sides = filled([tuple(clips.tensor.shape[-2:])])[0]
        stages = self.stm_head(maps, sides, padded_sides, all_stages=all_layers)
        layers = [
            LayerOutput(
                action_logits=stage.action_logits,
                boxes=box_fractions(stage.state, sides),
                person_logits=stage.person_logits,
            )
            for stage in stages
        ]
        return self.with_features(layers, [stage.action_features for stage in stages])
