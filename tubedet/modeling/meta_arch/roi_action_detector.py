"""Actions of persons whose boxes are given, on any backbone.

The head and the rules for boxes are those of VideoMAE-Action-Detection
(https://github.com/MCG-NJU/VideoMAE-Action-Detection) and UMT
(https://github.com/OpenGVLab/unmasked_teacher), or by their options those of PySlowFast
(https://github.com/facebookresearch/SlowFast) and mmaction2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.structures import Boxes, Instances

from tubedet.errors import UserError
from tubedet.layers import at_least_float32, to_device
from tubedet.modeling.backbone.map_shapes import map_shapes
from tubedet.modeling.box_action_loss import LOSSES, REDUCTIONS, box_action_loss
from tubedet.modeling.clip_batch import ClipBatch
from tubedet.modeling.given_boxes import GivenBoxes
from tubedet.modeling.heads import RoIActionHead
from tubedet.modeling.layer_output import LayerOutput
from tubedet.modeling.memory_reader import memory_arguments

from .clip_model import ClipModel, Observation


@META_ARCH_REGISTRY.register()
class RoIActionDetector(ClipModel):
    """A backbone and a classifier of given boxes.

    Args:
        in_features: maps of the backbone that boxes are aligned to; none: the last one.
        boxes: rules for given boxes.
        pooler_resolution: see :class:`RoIActionHead`.
        pooler_sampling_ratio: likewise.
        pooler_aligned: likewise.
        temporal_pool: likewise.
        dropout: likewise.
        first_column: likewise.
        action_prior: likewise.
        exclusive: every person does one action: softmax over the actions.
        score_times_box: action scores are multiplied by the score of the box.
        action_loss: of independent actions, "bce" or "focal".
        loss_reduction: over boxes, see :func:`box_action_loss`.
        loss_weight: factor on the loss.
        focal_alpha: see :func:`box_action_loss`.
        focal_gamma: likewise.
        **model: see :class:`ClipModel`.

    Raises:
        UserError: if the backbone does not return ``in_features``, for an unknown loss, or for a
            person detector, which has no actions.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: list[str],
        boxes: GivenBoxes,
        pooler_resolution: int,
        pooler_sampling_ratio: int,
        pooler_aligned: bool,
        temporal_pool: str,
        dropout: float,
        first_column: int,
        action_prior: float,
        exclusive: bool,
        score_times_box: bool,
        action_loss: str,
        loss_reduction: str,
        loss_weight: float,
        focal_alpha: float,
        focal_gamma: float,
        **model: Any,
    ):
        super().__init__(**model)
        if self.person_only:
            raise UserError(
                "MODEL.PERSON_ONLY is True, but RoIActionDetector finds no persons: their boxes "
                "are given; choose another MODEL.META_ARCHITECTURE"
            )
        for key, value, known in (
            ("CRITERION.ACTION_LOSS", action_loss, LOSSES),
            ("ROI_ACTION.LOSS_REDUCTION", loss_reduction, REDUCTIONS),
        ):
            if value not in known:
                raise UserError(f"MODEL.{key} is {value!r}; choose one of {known}")
        shapes = map_shapes(self.backbone, type(self).__name__, "stride")
        if not set(in_features) <= set(shapes):
            raise UserError(
                f"MODEL.ROI_ACTION.IN_FEATURES is {in_features}, but the backbone returns "
                f"{[*shapes]}"
            )
        self.in_features = list(in_features) or [[*shapes][-1]]
        self.boxes = boxes
        self.exclusive = exclusive
        self.score_times_box = score_times_box
        self.loss: dict[str, Any] = {
            "exclusive": exclusive,
            "kind": action_loss,
            "reduction": loss_reduction,
            "focal_alpha": focal_alpha,
            "focal_gamma": focal_gamma,
        }
        self.loss_weight = loss_weight
        self.action_head = RoIActionHead(
            channels=[shapes[name].channels for name in self.in_features],
            strides=[shapes[name].stride for name in self.in_features],
            num_actions=self.num_actions,
            first_column=first_column,
            resolution=pooler_resolution,
            sampling_ratio=pooler_sampling_ratio,
            aligned=pooler_aligned,
            temporal_pool=temporal_pool,
            dropout=dropout,
            action_prior=0.5 if exclusive else action_prior,
        )
        self.add_memory_reader(sum(shapes[name].channels for name in self.in_features))

    @classmethod
    def from_config(cls, cfg):
        """Return the arguments of the constructor according to a config."""
        roi, criterion = cfg.MODEL.ROI_ACTION, cfg.MODEL.CRITERION
        return {
            "backbone": build_backbone(cfg),
            "num_actions": cfg.MODEL.NUM_ACTIONS,
            "person_only": cfg.MODEL.PERSON_ONLY,
            "cuda_graphs": cfg.MODEL.CUDA_GRAPHS,
            "training_graphs": cfg.SOLVER.CUDA_GRAPHS,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "memory": memory_arguments(cfg),
            "in_features": roi.IN_FEATURES,
            "boxes": GivenBoxes(
                inclusive_pixels=roi.INCLUSIVE_PIXELS,
                extension=roi.BOX_EXTENSION,
                score_thresh=roi.BOX_SCORE_THRESH,
                jitter_outward=roi.JITTER_OUTWARD,
                jitter_inward=roi.JITTER_INWARD,
                use_proposals=roi.TRAIN_ON_PROPOSALS,
                proposal_iou=roi.PROPOSAL_IOU,
                keep_negatives=roi.KEEP_NEGATIVES,
                max_boxes=roi.MAX_BOXES,
            ),
            "pooler_resolution": roi.POOLER_RESOLUTION,
            "pooler_sampling_ratio": roi.POOLER_SAMPLING_RATIO,
            "pooler_aligned": roi.POOLER_ALIGNED,
            "temporal_pool": roi.TEMPORAL_POOL,
            "dropout": roi.DROPOUT,
            "first_column": roi.FIRST_COLUMN,
            "action_prior": roi.ACTION_PRIOR,
            "exclusive": cfg.MODEL.EXCLUSIVE_ACTIONS,
            "score_times_box": roi.SCORE_TIMES_BOX,
            "action_loss": criterion.ACTION_LOSS,
            "loss_reduction": roi.LOSS_REDUCTION,
            "loss_weight": criterion.ACTION_LOSS_WEIGHT,
            "focal_alpha": criterion.FOCAL_ALPHA,
            "focal_gamma": criterion.FOCAL_GAMMA,
        }

    def forward(self, batched_inputs: list[dict]):
        """Classify, or compute losses.

        Args:
            batched_inputs: per clip a dict with ``clip`` uint8 (3, T, H, W) RGB and ``proposals``,
                Instances with ``proposal_boxes`` (XYXY pixels of the clip), ``scores`` (n,) and
                perhaps more, which is handed on; optionally ``height`` and ``width``, the size in
                which boxes are wanted (default: the clip's). For training ``instances`` with
                ``gt_boxes`` and ``gt_actions`` (N, A), and ``proposals`` if they are trained on.

        Returns:
            In training mode a dict of the weighted scalar loss. Otherwise
            ``[{"instances": ...}]`` with ``pred_boxes``, the given boxes within the image,
            ``scores``, theirs, ``action_scores`` (n, A) and what else the proposals had; boxes
            that have a small score or no area in the image are left out.

        Raises:
            ValueError: in training mode, for an input without ``instances``.
            UserError: for an input without the ``proposals`` that it needs.
        """
        if self.training:
            return self._losses(batched_inputs)
        return self.conclude(self.observe(batched_inputs), batched_inputs)

    def observe(self, batched_inputs: list[dict]) -> list[Observation]:
        """See :meth:`ClipModel.observe`."""
        clips = self.batch(batched_inputs)
        results, regions = [], []
        for x, size in zip(batched_inputs, clips.sizes):
            stored = (x.get("height", size[0]), x.get("width", size[1]))
            proposals = _proposals_of(x)
            kept, boxes, region = self.boxes.for_detection(
                proposals.proposal_boxes.tensor, proposals.scores.flatten(), size, stored
            )
            results.append(_given(proposals[kept], boxes, size, stored))
            regions.append(region)
        logits, features = self._classify(clips, regions)
        logits = at_least_float32(logits)
        rows = [len(region) for region in regions]
        observations = []
        for instances, own_logits, own in zip(results, logits.split(rows), features.split(rows)):
            for name, value in instances.get_fields().items():
                instances.set(name, _on_device(value, self.device))
            boxes = instances.pred_boxes.tensor[None]
            layer = LayerOutput(own_logits[None], boxes, action_features=own[None])
            observations.append(Observation(layer, instances))
        return observations

    def conclude(self, observations: list[Observation], inputs: Sequence[dict]) -> list[dict]:
        """See :meth:`ClipModel.conclude`; the numbers of boxes may differ."""
        results = []
        for observation, clip_input in zip(observations, inputs, strict=True):
            layer = observation.layer
            instances = observation.instances[:]  # which may be concluded from once more
            logits: Any = layer.action_logits
            if self.memory_reader is not None:
                logits = self.memory_reader.change(layer, [clip_input])
            scores = (logits.softmax(-1) if self.exclusive else logits.sigmoid())[0]
            if self.score_times_box:
                scores = scores * instances.scores[:, None].to(scores.dtype)
            instances.action_scores = scores
            if self.gives_features and layer.action_features is not None:
                instances.action_features = layer.action_features[0]
            results.append({"instances": instances})
        return results

    def action_logits(self, clips: ClipBatch, regions: list[torch.Tensor]) -> torch.Tensor:
        """Classify regions of clips.

        Args:
            clips: normalised and padded.
            regions: for each clip (n, 4), XYXY in pixels of it, float32; neither cut nor extended
                here.

        Returns:
            logits (n + n' + ..., A), in this order.
        """
        return self._classify(clips, regions)[0]

    def _classify(
        self, clips: ClipBatch, regions: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and features of regions."""
        maps = self.computed(self.feature_maps, clips)
        rows = [
            torch.cat((boxes.new_full((len(boxes), 1), index), boxes), 1)
            for index, boxes in enumerate(regions)
        ]
        return self.action_head(maps, to_device(torch.cat(rows), self.device), details=True)

    def feature_maps(self, clips: ClipBatch) -> list[torch.Tensor]:
        """Return the maps that boxes are aligned to, (B, C, H', W') each, pooled in time."""
        features = self.features(clips)
        return self.action_head.pool_time([features[name] for name in self.in_features])

    def _losses(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor]:
        clips = self.batch(batched_inputs)
        chosen = []
        for x, size in zip(batched_inputs, clips.sizes):
            boxes, actions = self.ground_truth(x)
            given, scores = boxes.new_zeros(0, 4), boxes.new_zeros(0)
            if self.boxes.use_proposals:
                proposals = _proposals_of(x)
                given, scores = proposals.proposal_boxes.tensor, proposals.scores.flatten()
            chosen.append(self.boxes.for_training(boxes, actions, given, scores, size))
        regions, labels = zip(*chosen)
        with self.without_gradients():
            logits, features = self._classify(clips, list(regions))
        if self.memory_reader is not None:
            rows = [len(region) for region in regions]
            pairs = zip(features.split(rows), batched_inputs)
            logits = logits + torch.cat([self.memory_reader(x[None], [y])[0] for x, y in pairs])
        actions = to_device(torch.cat(labels), self.device)
        return {"loss_ce": self.loss_weight * box_action_loss(logits, actions, **self.loss)}


def _proposals_of(clip_input: dict) -> Instances:
    if "proposals" not in clip_input:
        raise UserError(
            "RoIActionDetector needs boxes of persons, 'proposals' of every input: from a file "
            "(--boxes, DATASETS.PROPOSAL_FILES_TEST, or _TRAIN for a training with "
            "MODEL.ROI_ACTION.TRAIN_ON_PROPOSALS), or the annotated ones (TEST.GROUND_TRUTH_BOXES "
            "True)"
        )
    return clip_input["proposals"]


def _given(
    proposals: Instances, boxes: torch.Tensor, size: tuple[int, int], wanted: tuple[int, int]
) -> Instances:
    """Return the given boxes in the size that is wanted, with all that came with them."""
    height, width = (there / here for there, here in zip(wanted, size))
    instances = Instances(wanted)
    instances.pred_boxes = Boxes(boxes * boxes.new_tensor([width, height, width, height]))
    for name, value in proposals.get_fields().items():
        if name == "scores":
            instances.scores = value.flatten()
        elif name != "proposal_boxes":
            instances.set(name, value)
    return instances


def _on_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, Boxes):
        return Boxes(to_device(value.tensor, device))
    return to_device(value, device) if isinstance(value, torch.Tensor) else value
