"""What all models of clips share: the batch of normalised clips, ground truth and recordings."""

from __future__ import annotations

import contextlib
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from detectron2.modeling import Backbone
from detectron2.structures import Instances
from torch import nn

from tubedet.errors import UserError
from tubedet.modeling.backbone.map_shapes import check_maps
from tubedet.modeling.clip_batch import ClipBatch
from tubedet.modeling.graph_capture import RecordedPrediction
from tubedet.modeling.graph_training import RecordedTraining
from tubedet.modeling.layer_output import LayerOutput
from tubedet.modeling.memory_reader import MemoryReader
from tubedet.modeling.memory_weights import READER


@dataclass
class Observation:
    """What a model sees in one clip, before it looks at the memory around it.

    Attributes:
        layer: the last layer, with B = 1.
        instances: of the size in which boxes are wanted, with what else is known of the persons.
    """

    layer: LayerOutput
    instances: Instances


class ClipModel(nn.Module, ABC):
    """Holds a backbone and the statistics of its pixels, and makes batches of clips.

    Args:
        backbone: from normalised clips (B, 3, T, H, W) to a dict of maps.
        num_actions: A.
        person_only: A is 1, "person", whatever the annotations say.
        cuda_graphs: prepared for inference, record what is launched on a GPU for each size of
            clips, and replay it; see :class:`RecordedPrediction`.
        training_graphs: likewise in training; see :class:`RecordedTraining`.
        pixel_mean: of RGB on 0..255.
        pixel_std: likewise.
        memory: arguments of a :class:`MemoryReader`, whose model is trained no further, but for the
            reader; None: no long-term context.

    Attributes:
        action_names: those of the checkpoint, see :func:`tubedet.load_model`; None: unknown.
        memory_reader: what changes action logits by the memory around a clip; None: nothing.
        gives_features: whether detections have ``action_features``, (Q, D) a clip, the vectors that
            actions are read from and memories consist of.
        attends_by_action: whether :meth:`explain` tells about each action of a person by itself;
            otherwise all actions of a person have the same attention.
        map_axes: axes of the backbone's maps: 5, or 4 where it has pooled them over time.
        reads_sizes: whether predictions read the sizes of clips, beside the mask of padding.
        fingerprint: what identifies the weights that memories are made with, where it is known,
            see :func:`~tubedet.modeling.memory_weights.base_fingerprint`.
    """

    action_names: list[str] | None = None
    fingerprint: str | None = None
    gives_features = False
    attends_by_action = True
    map_axes = 5
    reads_sizes = False
    pixel_mean: torch.Tensor
    pixel_std: torch.Tensor

    def __init__(
        self,
        *,
        backbone: Backbone,
        num_actions: int,
        person_only: bool = False,
        cuda_graphs: bool = False,
        training_graphs: bool = False,
        pixel_mean: list[float],
        pixel_std: list[float],
        memory: dict | None = None,
    ):
        super().__init__()
        if memory is not None and person_only:
            raise UserError(
                "MODEL.MEMORY is for actions, but MODEL.PERSON_ONLY is True; set one of them to "
                "False"
            )
        self._memory = memory
        self.memory_reader: MemoryReader | None = None
        self.backbone = backbone
        self.person_only = person_only
        self.num_actions = 1 if person_only else num_actions
        self.cuda_graphs = cuda_graphs
        self._recorded: RecordedPrediction | None = None
        self._recorded_training = RecordedTraining() if training_graphs else None
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            value = torch.tensor([v / 255 for v in values]).view(3, 1, 1, 1)
            self.register_buffer(name, value, persistent=False)

    @property
    def has_memory(self) -> bool:
        """Whether the model has a memory reader, or will have one when it is complete."""
        return self._memory is not None

    def add_memory_reader(self, feature_dim: int) -> None:
        """Add what reads memories, if there is to be one, and freeze all else; called at the end.

        Args:
            feature_dim: channels D of the features of persons.
        """
        if self._memory is None:
            return
        for parameter in self.parameters():
            parameter.requires_grad = False
        self.memory_reader = MemoryReader(feature_dim=feature_dim, **self._memory)
        self.gives_features = True

    def train(self, mode: bool = True) -> ClipModel:
        """Set the mode; beside a memory reader, the rest stays as it is for evaluation."""
        super().train(mode)
        if self.memory_reader is not None:
            for name, child in self.named_children():
                child.train(mode and name == READER)
        return self

    def without_gradients(self) -> contextlib.AbstractContextManager:
        """Return the context of what is frozen: all but a memory reader, nothing without one."""
        return contextlib.nullcontext() if self.memory_reader is None else torch.no_grad()

    def with_features(
        self, layers: list[LayerOutput], features: Iterable[torch.Tensor | None]
    ) -> list[LayerOutput]:
        """Return the layers with the features (B, Q, D) of each, if detections are to have them."""
        if not self.gives_features:
            return layers
        return [replace(layer, action_features=x) for layer, x in zip(layers, features)]

    @abstractmethod
    def observe(self, batched_inputs: list[dict]) -> list[Observation]:
        """Do all that needs no memory, for each clip.

        Args:
            batched_inputs: those of inference.
        """

    @abstractmethod
    def conclude(self, observations: list[Observation], inputs: Sequence[dict]) -> list[dict]:
        """Detect in what was observed; ``model(inputs)`` does both in one.

        Args:
            observations: of some clips, of one number of queries or given boxes each.
            inputs: for each what is known of the memory around it, see
                :meth:`MemoryReader.forward`; an empty dict: nothing.

        Returns:
            the results of inference.
        """

    @property
    def device(self) -> torch.device:
        """Where inputs are moved to."""
        return self.pixel_mean.device

    @property
    def explains_actions(self) -> bool:
        """Whether :meth:`explain` works for the architecture."""
        return False

    def record_predictions(self) -> None:
        """Record predictions on GPUs from now on; the model is not trained any more."""
        self._recorded = RecordedPrediction()

    def batch(self, batched_inputs: list[dict]) -> ClipBatch:
        """Normalise and pad the clips of inputs.

        Args:
            batched_inputs: each with ``clip``, uint8 (3, T, H, W), RGB.

        Raises:
            UserError: for single images, which detectron2's ``DefaultPredictor`` gives.
        """
        if any("clip" not in x and "image" in x for x in batched_inputs):
            raise UserError(
                f"{type(self).__name__} takes clips, not the single images of DefaultPredictor; "
                "use tubedet.VideoActionDetector(cfg), which takes videos and frames"
            )
        return ClipBatch.from_clips(
            [x["clip"] for x in batched_inputs],
            self.pixel_mean,
            self.pixel_std,
            self.backbone.size_divisibility,
        )

    def features(self, clips: ClipBatch) -> dict[str, torch.Tensor]:
        """Compute the maps of the backbone; one that hides padding is told where it is.

        Args:
            clips: normalised and padded.

        Raises:
            UserError: if they are not what the backbone's ``output_shape`` says.
        """
        if getattr(self.backbone, "mask_padding", False):
            maps = self.backbone(clips.tensor, clips.sizes)
        else:
            maps = self.backbone(clips.tensor)
        if not torch.compiler.is_compiling():
            check_maps(maps, self.backbone, self.map_axes)
        return maps

    def computed(self, compute: Callable[..., list], clips: ClipBatch, **options: Any) -> list:
        """Return ``compute(clips, **options)``, replayed from a recording where there is one.

        Args:
            compute: does nothing but launch work; results are tensors, or hold some.
            clips: the batch.
            options: for training; recordings of detection are made without them.
        """
        if not clips.tensor.is_cuda or torch.version.hip is not None:
            return compute(clips, **options)
        if self._recorded is not None and not torch.is_grad_enabled():
            weights = itertools.chain(self.parameters(), self.buffers())
            return self._recorded(compute, clips, weights)
        if self._recorded_training is not None and self.training and torch.is_grad_enabled():
            reads_sizes = self.reads_sizes or getattr(self.backbone, "mask_padding", False)
            return self._recorded_training(self, compute, clips, options, reads_sizes=reads_sizes)
        return compute(clips, **options)

    def explain(self, batched_inputs: list[dict], actions: Sequence[int]) -> list[dict]:
        """Detect, and tell where in the frame actions of each person are looked for.

        Args:
            batched_inputs: those of inference.
            actions: n columns of the action scores.

        Returns:
            those of inference, whose instances have ``action_attention`` (Q, n, h, w) too: the
            weights with which action n of person Q reads the cells of a grid over the frame. Where
            a person looks once for all actions (``attends_by_action`` is False), they are the same
            for all n, and the sum over time of ``context_attention`` (Q, T, h, w).

        Raises:
            UserError: if the architecture has no such weights, or not these actions.
        """
        self.check_explains(actions)
        raise NotImplementedError(f"{type(self).__name__}.explain")

    def check_explains(self, actions: Sequence[int]) -> None:
        """Refuse actions that :meth:`explain` cannot tell about.

        Args:
            actions: columns of the action scores.

        Raises:
            UserError: for one that is not there, and for all if it works for none.
        """
        if self.person_only:
            raise UserError("MODEL.PERSON_ONLY is True: without actions no class looks anywhere")
        if not self.explains_actions:
            raise UserError(
                f"{type(self).__name__} cannot explain an action: it does not tell where it looks; "
                "ClassQueryDetector and TubeR do, with configs such as ClassQuery_CSN50_AVA22, and "
                "DeformableTubeR with MODEL.DEFORMABLE_TUBER.CONTEXT_ACTIONS True"
            )
        for action in actions:
            if not 0 <= action < self.num_actions:
                raise UserError(
                    f"there is no action {action}; the model has 0 to {self.num_actions - 1}"
                )

    def ground_truth(self, clip_input: dict) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the annotated boxes and actions of a training input.

        Args:
            clip_input: with ``instances``.

        Returns:
            (N, 4), XYXY in pixels of the clip, and float (N, A).

        Raises:
            ValueError: if it has no ``instances``.
            UserError: if they have another number of actions.
        """
        if "instances" not in clip_input:
            raise ValueError(
                f"{input_name(clip_input)} has no 'instances'; was the mapper built with "
                "is_train=False?"
            )
        instances = clip_input["instances"]
        return instances.gt_boxes.tensor, self.actions(instances)

    def actions(self, instances: Instances) -> torch.Tensor:
        """Return the actions of annotated persons, float (N, A).

        Args:
            instances: with ``gt_actions``, and with ``gt_boxes`` or ``gt_tubes``.

        Raises:
            UserError: if they have another number of actions than the model.
        """
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


def input_name(clip_input: dict) -> str:
    """Name a training input for messages."""
    return f"training input {clip_input.get('video_id')!r} at {clip_input.get('timestamp')} s"
