"""What all architectures share: from clips to losses or detections."""

import itertools
from abc import ABC, abstractmethod

import torch
from detectron2.config import CfgNode
from detectron2.modeling import Backbone, build_backbone
from detectron2.structures import Instances
from torch import nn
from torchvision.ops import box_convert

from tubedet.errors import UserError
from tubedet.modeling.clip_batch import ClipBatch
from tubedet.modeling.graph_capture import RecordedPrediction
from tubedet.modeling.losses import LayerOutput, SetCriterion
from tubedet.modeling.postprocessing import detections_from_queries
from tubedet.modeling.targets import ClipTarget


class ClipDetector(nn.Module, ABC):
    """Batches clips, calls :meth:`predict`, and computes losses or detections from it.

    Args:
        backbone: from normalised clips (B, 3, T, H, W) to a dict of maps.
        num_actions: A.
        person_only: detect persons whatever they do: A is 1, "person", and the actions of the
            ground truth are not looked at. Architectures with a person decision of their own then
            have no action classifier.
        exclusive: every person does one action: softmax over the actions and "no object"; without
            effect on a person detector.
        aux_loss: losses on all decoder layers.
        person_thresh: see :func:`detections_from_queries`.
        score_times_person: likewise.
        fallback_topk: likewise.
        criterion: computes the losses.
        cuda_graphs: prepared for inference, record what is launched on a GPU for each size of
            clips, and replay it; see :class:`RecordedPrediction`.
        pixel_mean: of RGB on 0..255.
        pixel_std: likewise.

    Attributes:
        num_outputs: action logits per query: A, or A + 1 with exclusive actions.
        num_steps: frames F of each clip in which boxes are predicted; frame f of these is frame
            f · T / F of the clip.
        action_names: those of the checkpoint, see :func:`tubedet.load_model`; None: unknown.
        clip_boxes: whether detections are cut at the borders of the image.
    """

    num_steps = 1
    clip_boxes = False
    action_names: list[str] | None = None
    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(
        self,
        *,
        backbone: Backbone,
        num_actions: int,
        person_only: bool,
        exclusive: bool,
        aux_loss: bool,
        person_thresh: float,
        criterion: SetCriterion,
        score_times_person: bool = True,
        fallback_topk: int = 0,
        cuda_graphs: bool = False,
        pixel_mean: list[float],
        pixel_std: list[float],
    ):
        super().__init__()
        self.backbone = backbone
        self.person_only = person_only
        self.exclusive = exclusive and not person_only
        self.num_actions = 1 if person_only else num_actions
        self.num_outputs = self.num_actions + int(self.exclusive)
        self.aux_loss = aux_loss
        self.person_thresh = person_thresh
        self.score_times_person = score_times_person
        self.fallback_topk = fallback_topk
        self.criterion = criterion
        self.cuda_graphs = cuda_graphs
        self._recorded: RecordedPrediction | None = None
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            value = torch.tensor([v / 255 for v in values]).view(3, 1, 1, 1)
            self.register_buffer(name, value, persistent=False)

    @staticmethod
    def shared_arguments(cfg: CfgNode, node: CfgNode) -> dict:
        """Return the arguments of this class from a config; ``node`` is the architecture's own."""
        return {
            "backbone": build_backbone(cfg),
            "num_actions": cfg.MODEL.NUM_ACTIONS,
            "person_only": cfg.MODEL.PERSON_ONLY,
            "exclusive": cfg.MODEL.EXCLUSIVE_ACTIONS,
            "aux_loss": cfg.MODEL.CRITERION.AUX_LOSS,
            "person_thresh": node.PERSON_THRESH,
            "criterion": SetCriterion(cfg),
            "cuda_graphs": cfg.MODEL.CUDA_GRAPHS,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        """Where inputs are moved to."""
        return self.pixel_mean.device

    @abstractmethod
    def predict(self, clips: ClipBatch, all_layers: bool = False) -> list[LayerOutput]:
        """Raw predictions for the key frames.

        Args:
            clips: normalised and padded.
            all_layers: also those of the earlier decoder layers.

        Returns:
            predictions of the decoder layers asked for, first to last.
        """

    def features(self, clips: ClipBatch) -> dict[str, torch.Tensor]:
        """Compute the maps of the backbone; one that hides padding is told where it is.

        Args:
            clips: normalised and padded.
        """
        if getattr(self.backbone, "mask_padding", False):
            return self.backbone(clips.tensor, clips.sizes)
        return self.backbone(clips.tensor)

    def forward(self, batched_inputs: list[dict]):
        """Detect, or compute losses.

        Args:
            batched_inputs: per clip a dict with ``clip`` uint8 (3, T, H, W) RGB; for training
                ``instances`` with ``gt_boxes`` (XYXY pixels of the clip), ``gt_actions`` (N, A)
                and, where tubes are annotated, ``gt_tubes`` float (N, T, 4) (XYXY pixels, NaN in
                frames without a box); for inference optionally ``height`` and ``width``, the
                size in which boxes are wanted (default: the clip's). Tube mode also reads
                ``frame_annotated`` and ``other_persons``, see
                :class:`~tubedet.data.ClipDatasetMapper`.

        Returns:
            In training mode a dict of weighted scalar losses. Otherwise ``[{"instances": ...}]``,
            see :func:`detections_from_queries`.

        Raises:
            ValueError: in training mode, for an input without ``instances``.
        """
        clips = ClipBatch.from_clips(
            [x["clip"] for x in batched_inputs],
            self.pixel_mean,
            self.pixel_std,
            self.backbone.size_divisibility,
        )
        if self._recorded is not None and clips.tensor.is_cuda and not torch.is_grad_enabled():
            weights = itertools.chain(self.parameters(), self.buffers())
            layers = self._recorded(self.predict, clips, weights)
        else:
            layers = self.predict(clips, all_layers=self.training and self.aux_loss)
        if self.training:
            targets = [self._target(x, size) for x, size in zip(batched_inputs, clips.sizes)]
            return self.criterion(layers, targets)
        sizes = [
            (x.get("height", h), x.get("width", w))
            for x, (h, w) in zip(batched_inputs, clips.sizes)
        ]
        detections = detections_from_queries(
            layers[-1],
            sizes,
            exclusive=self.exclusive,
            person_thresh=self.person_thresh,
            score_times_person=self.score_times_person,
            fallback_topk=self.fallback_topk,
            clip_boxes=self.clip_boxes,
        )
        return [{"instances": instances} for instances in detections]

    def record_predictions(self) -> None:
        """Record predictions on GPUs from now on; the model is not trained any more."""
        self._recorded = RecordedPrediction()

    def _target(self, clip_input: dict, size: tuple[int, int]) -> ClipTarget:
        """Ground truth where the input has it, on the host as a rule."""
        name = f"training input {clip_input.get('video_id')!r} at {clip_input.get('timestamp')} s"
        if "instances" not in clip_input:
            raise ValueError(
                f"{name} has no 'instances'; was the mapper built with is_train=False?"
            )
        instances = clip_input["instances"]
        actions = self._actions(instances)
        target = ClipTarget(self._normalise(instances.gt_boxes.tensor, size), actions)
        if self.num_steps > 1 and instances.has("gt_tubes"):
            target.frame_boxes, target.frame_valid = self._tubes(instances, size, name)
            annotated = clip_input.get("frame_annotated")
            if annotated is not None:
                target.frame_annotated = annotated[:: len(annotated) // self.num_steps]
            others = clip_input.get("other_persons")
            if others is not None and len(others):
                nowhere = target.boxes.new_zeros(len(others), 4)
                tubes = self._tubes(others, size, name)
                target.others = ClipTarget(nowhere, self._actions(others), *tubes)
        return target

    def _actions(self, instances: Instances) -> torch.Tensor:
        """Return the actions (N, A) of persons."""
        if self.person_only:
            boxes = instances.gt_tubes if instances.has("gt_tubes") else instances.gt_boxes.tensor
            return boxes.new_ones(len(instances), 1)
        actions = instances.gt_actions
        if actions.shape[-1] != self.num_actions:
            raise UserError(
                f"'gt_actions' has {actions.shape[-1]} columns, MODEL.NUM_ACTIONS is "
                f"{self.num_actions}"
            )
        return actions

    def _tubes(
        self, instances: Instances, size: tuple[int, int], name: str
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalised boxes (N, F, 4) in the frames that are predicted, and where there are any."""
        num_frames = instances.gt_tubes.shape[1]
        if num_frames % self.num_steps:
            raise UserError(
                f"'gt_tubes' of {name} has {num_frames} frames, not a multiple of the "
                f"{self.num_steps} in which the model predicts boxes"
            )
        tubes = instances.gt_tubes[:, :: num_frames // self.num_steps]
        return self._normalise(tubes.nan_to_num(), size), tubes.isfinite().all(-1)

    def _normalise(self, boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """(..., 4) XYXY pixels -> cxcywh as fractions of the unpadded clip."""
        height, width = size
        boxes = boxes.to(self.pixel_mean.dtype)
        scale = boxes.new_tensor([width, height, width, height])
        return box_convert(boxes / scale, "xyxy", "cxcywh")
