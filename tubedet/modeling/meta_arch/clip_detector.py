"""What all architectures share: from clips to losses or detections."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_backbone
from detectron2.structures import Instances
from torchvision.ops import box_convert

from tubedet.errors import UserError
from tubedet.modeling.clip_batch import ClipBatch
from tubedet.modeling.losses import LayerOutput, SetCriterion
from tubedet.modeling.memory_reader import memory_arguments
from tubedet.modeling.postprocessing import detections_from_queries
from tubedet.modeling.targets import ClipTarget

from .clip_model import ClipModel, Observation, input_name


class ClipDetector(ClipModel):
    """Batches clips, calls :meth:`predict`, and computes losses or detections from it.

    Args:
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
        **model: see :class:`ClipModel`.

    Attributes:
        num_outputs: action logits per query: A, or A + 1 with exclusive actions.
        num_steps: frames F of each clip in which boxes are predicted; frame f of these is frame
            f · T / F of the clip.
        clip_boxes: whether detections are cut at the borders of the image.
    """

    num_steps = 1
    clip_boxes = False

    def __init__(
        self,
        *,
        num_actions: int,
        person_only: bool,
        exclusive: bool,
        aux_loss: bool,
        person_thresh: float,
        criterion: SetCriterion,
        score_times_person: bool = True,
        fallback_topk: int = 0,
        **model: Any,
    ):
        super().__init__(num_actions=num_actions, person_only=person_only, **model)
        self.exclusive = exclusive and not person_only
        self.num_outputs = self.num_actions + int(self.exclusive)
        self.aux_loss = aux_loss
        self.person_thresh = person_thresh
        self.score_times_person = score_times_person
        self.fallback_topk = fallback_topk
        self.criterion = criterion

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
            "training_graphs": cfg.SOLVER.CUDA_GRAPHS,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "memory": memory_arguments(cfg),
        }

    @abstractmethod
    def predict(self, clips: ClipBatch, all_layers: bool = False) -> list[LayerOutput]:
        """Raw predictions for the key frames.

        Args:
            clips: normalised and padded.
            all_layers: also those of the earlier decoder layers.

        Returns:
            predictions of the decoder layers asked for, first to last.
        """

    def predict_key_frame(self, clips: ClipBatch, all_layers: bool = False) -> list[LayerOutput]:
        """Predict what detection reports, that is without other frames than the key frames.

        Arguments and result are those of :meth:`predict`.
        """
        return self.predict(clips, all_layers)

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
        clips = self.batch(batched_inputs)
        # Earlier layers that are frozen have nothing to learn.
        all_layers = self.training and self.aux_loss and self.memory_reader is None
        predict = self.predict if self.training else self.predict_key_frame
        with self.without_gradients():
            layers = self.computed(predict, clips, all_layers=all_layers)
        if self.training:
            targets = [self._target(x, size) for x, size in zip(batched_inputs, clips.sizes)]
            return self.criterion([self._remembered(x, batched_inputs) for x in layers], targets)
        sizes = _wanted_sizes(batched_inputs, clips)
        return self._detections(self._remembered(layers[-1], batched_inputs), sizes)

    def observe(self, batched_inputs: list[dict]) -> list[Observation]:
        """See :meth:`ClipModel.observe`."""
        clips = self.batch(batched_inputs)
        layer = self.computed(self.predict_key_frame, clips)[-1]
        return [
            Observation(layer.mapped(lambda value, b=b: value[b : b + 1].clone()), Instances(size))
            for b, size in enumerate(_wanted_sizes(batched_inputs, clips))
        ]

    def conclude(self, observations: list[Observation], inputs: Sequence[dict]) -> list[dict]:
        """See :meth:`ClipModel.conclude`."""
        layer = LayerOutput.batched([observation.layer for observation in observations])
        sizes = [observation.instances.image_size for observation in observations]
        return self._detections(self._remembered(layer, inputs), sizes)

    def _remembered(self, layer: LayerOutput, inputs: Sequence[dict]) -> LayerOutput:
        """Return a layer with what the memories around the clips add to its action logits."""
        if self.memory_reader is None:
            return layer
        return replace(layer, action_logits=self.memory_reader.change(layer, inputs))

    def explain(self, batched_inputs: list[dict], actions: Sequence[int]) -> list[dict]:
        """See :meth:`ClipModel.explain`.

        Weights of padded cells are left out; those of the others add up to one without padding.
        No recording of a GPU (``cuda_graphs``) is made or replayed for it.
        """
        self.check_explains(actions)
        clips = self.batch(batched_inputs)
        layer, attention = self.predict_with_attention(clips)
        layer = self._remembered(layer, batched_inputs)
        results = self._detections(layer, _wanted_sizes(batched_inputs, clips))
        attention = attention[:, :, list(actions)]
        padding = clips.mask_at(*attention.shape[-2:])
        for index, (result, maps, mask) in enumerate(zip(results, attention, padding)):
            height, width = (int((~mask).any(side).sum()) for side in (1, 0))
            result["instances"].action_attention = maps[..., :height, :width]
            if layer.context_attention is not None:
                context = layer.context_attention[index]
                result["instances"].context_attention = context[..., :height, :width]
        return results

    def predict_with_attention(self, clips: ClipBatch) -> tuple[LayerOutput, torch.Tensor]:
        """Predict, and return the attention that :meth:`explain` tells about.

        Args:
            clips: normalised and padded.

        Returns:
            the last layer of :meth:`predict`, and (B, Q, A, H, W), which adds up to one over a grid
            that covers the padded clip: of the key frame, or summed over time.
        """
        raise NotImplementedError(f"{type(self).__name__}.predict_with_attention")

    def _detections(self, layer: LayerOutput, sizes: list[tuple[int, int]]) -> list[dict]:
        detections = detections_from_queries(
            layer,
            sizes,
            exclusive=self.exclusive,
            person_thresh=self.person_thresh,
            score_times_person=self.score_times_person,
            fallback_topk=self.fallback_topk,
            clip_boxes=self.clip_boxes,
        )
        return [{"instances": instances} for instances in detections]

    def _target(self, clip_input: dict, size: tuple[int, int]) -> ClipTarget:
        """Ground truth where the input has it, on the host as a rule."""
        gt_boxes, actions = self.ground_truth(clip_input)
        instances = clip_input["instances"]
        target = ClipTarget(self._normalise(gt_boxes, size), actions)
        if self.num_steps > 1 and instances.has("gt_tubes"):
            name = input_name(clip_input)
            target.frame_boxes, target.frame_valid = self._tubes(instances, size, name)
            annotated = clip_input.get("frame_annotated")
            if annotated is not None:
                target.frame_annotated = annotated[:: len(annotated) // self.num_steps]
            others = clip_input.get("other_persons")
            if others is not None and len(others):
                nowhere = target.boxes.new_zeros(len(others), 4)
                tubes = self._tubes(others, size, name)
                target.others = ClipTarget(nowhere, self.actions(others), *tubes)
        return target

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


def _wanted_sizes(batched_inputs: list[dict], clips: ClipBatch) -> list[tuple[int, int]]:
    return [
        (x.get("height", h), x.get("width", w)) for x, (h, w) in zip(batched_inputs, clips.sizes)
    ]
