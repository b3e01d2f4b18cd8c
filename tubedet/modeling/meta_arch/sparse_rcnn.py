"""Sparse R-CNN on video: learned proposals on the key frame's time-pooled feature pyramid.

Sun et al., "Sparse R-CNN: End-to-End Object Detection with Learnable Proposals", CVPR 2021
(https://arxiv.org/abs/2011.12450), after PeizeSun/SparseR-CNN with several actions per person.
"""

from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn
from torchvision.ops import box_convert

from tubedet.errors import UserError
from tubedet.layers import corners
from tubedet.modeling.backbone.map_shapes import map_shapes
from tubedet.modeling.clip_batch import ClipBatch
from tubedet.modeling.heads import DynamicHead
from tubedet.modeling.losses import LayerOutput

from .clip_detector import ClipDetector


@META_ARCH_REGISTRY.register()
class SparseRCNN(ClipDetector):
    """A pyramid backbone, learned proposal boxes and features, and a dynamic head.

    Weights of the official checkpoints outside the trunk fit by their own names.

    Args:
        in_features: pyramid levels that proposals look at, fine to coarse.
        num_proposals: R.
        num_stages: stages of the head.
        num_heads: see :class:`DynamicHeadStage`.
        feedforward_dim: likewise.
        dynamic_dim: likewise.
        num_cls: likewise.
        num_reg: likewise.
        dropout: likewise.
        pooler_type: see :class:`DynamicHead`.
        pooler_resolution: likewise.
        pooler_sampling_ratio: likewise.
        canonical_box_size: likewise.
        action_prior: initial probability of every independent action.
        **detector: see :class:`ClipDetector`.

    Raises:
        UserError: if the backbone does not return ``in_features``, or for ``aux_loss`` False
            with several stages.
    """

    clip_boxes = True

    map_axes = 4

    reads_sizes = True

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        num_proposals: int,
        num_stages: int,
        num_heads: int,
        feedforward_dim: int,
        dynamic_dim: int,
        num_cls: int,
        num_reg: int,
        dropout: float,
        pooler_type: str,
        pooler_resolution: int,
        pooler_sampling_ratio: int,
        canonical_box_size: int,
        action_prior: float,
        **detector: Any,
    ):
        super().__init__(**detector)
        if num_stages > 1 and not self.aux_loss:
            raise UserError(
                "MODEL.CRITERION.AUX_LOSS must be True: boxes are detached between stages, so "
                "without a loss of its own no stage but the last would learn to place them"
            )
        shapes = map_shapes(self.backbone, type(self).__name__, "stride")
        if not in_features or not set(in_features) <= set(shapes):
            raise UserError(
                f"MODEL.ROI_HEADS.IN_FEATURES is {in_features}, but MODEL.BACKBONE.NAME builds a "
                f"backbone that returns {[*shapes]}; use build_csn_fpn_backbone or "
                "build_vit_pyramid_2d_backbone and its levels"
            )
        self.in_features = list(in_features)
        dim = shapes[in_features[0]].channels
        self.init_proposal_features = nn.Embedding(num_proposals, dim)
        # (cx, cy, w, h) as fractions of the unpadded clip, not squashed by a sigmoid.
        self.init_proposal_boxes = nn.Embedding(num_proposals, 4)
        nn.init.constant_(self.init_proposal_boxes.weight[:, :2], 0.5)
        nn.init.constant_(self.init_proposal_boxes.weight[:, 2:], 1.0)
        self.head = DynamicHead(
            num_stages=num_stages,
            dim=dim,
            num_outputs=self.num_outputs,
            num_heads=num_heads,
            feedforward_dim=feedforward_dim,
            dynamic_dim=dynamic_dim,
            num_cls=num_cls,
            num_reg=num_reg,
            dropout=dropout,
            strides=[shapes[name].stride for name in in_features],
            pooler_type=pooler_type,
            pooler_resolution=pooler_resolution,
            pooler_sampling_ratio=pooler_sampling_ratio,
            canonical_box_size=canonical_box_size,
            action_prior=None if self.exclusive else action_prior,
        )
        self.add_memory_reader(dim)

    @classmethod
    def from_config(cls, cfg):
        """Return the arguments of the constructor according to a config."""
        sparse = cfg.MODEL.SPARSE_RCNN
        return {
            **cls.shared_arguments(cfg, sparse),
            "in_features": cfg.MODEL.ROI_HEADS.IN_FEATURES,
            "num_proposals": sparse.NUM_PROPOSALS,
            "num_stages": sparse.NUM_STAGES,
            "num_heads": sparse.NUM_HEADS,
            "feedforward_dim": sparse.FEEDFORWARD_DIM,
            "dynamic_dim": sparse.DYNAMIC_DIM,
            "num_cls": sparse.NUM_CLS,
            "num_reg": sparse.NUM_REG,
            "dropout": sparse.DROPOUT,
            "pooler_type": cfg.MODEL.ROI_BOX_HEAD.POOLER_TYPE,
            "pooler_resolution": cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION,
            "pooler_sampling_ratio": cfg.MODEL.ROI_BOX_HEAD.POOLER_SAMPLING_RATIO,
            "canonical_box_size": sparse.CANONICAL_BOX_SIZE,
            "action_prior": sparse.ACTION_PRIOR,
        }

    def predict(self, clips: ClipBatch, all_layers: bool = False) -> list[LayerOutput]:
        """Raw predictions of all proposals.

        Args:
            clips: normalised and padded.
            all_layers: also those of the earlier stages.

        Returns:
            predictions of the stages asked for, first to last; boxes may leave the clip.
        """
        features = self.features(clips)
        boxes = corners(self.init_proposal_boxes.weight)
        # Filled, not listed: an exporter would take listed sizes for constants.
        sides = [boxes.new_full((), side) for size in clips.sizes for side in reversed(size)]
        size = torch.stack(sides).view(-1, 1, 2).repeat(1, 1, 2)
        boxes = boxes * size
        boxes = boxes.expand(clips.tensor.shape[0], -1, -1)
        stages = self.head(
            [features[name] for name in self.in_features],
            boxes,
            self.init_proposal_features.weight.expand(boxes.shape[0], -1, -1),
        )
        if not all_layers:
            stages = stages[-1:]
        layers = [
            LayerOutput(stage.logits, box_convert(stage.boxes / size, "xyxy", "cxcywh"))
            for stage in stages
        ]
        return self.with_features(layers, [stage.features for stage in stages])
