"""What a decoder layer says about the queries of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from tubedet.layers import at_least_float32


@dataclass
class LayerOutput:
    """Predictions of one decoder layer for the queries that take part in the loss.

    In tube mode, with queries for each of F frames, ``action_logits``, ``boxes`` and
    ``person_logits`` have a frame axis, (B, F, Q, ...), and ``frame_boxes`` is None.

    Attributes:
        action_logits: (B, Q, A), or (B, Q, A + 1) with "no object" last for exclusive classes, or
            None for persons alone.
        boxes: (B, Q, 4), normalised cxcywh in the key frame.
        person_logits: (B, Q, 3) for a person decision per query, (B, 2) for the visibility of
            a person per clip, None for neither.
        frame_boxes: (B, F, Q, 4), ``boxes`` in every frame the architecture predicts, or None.
        is_proposal: whether these are proposals of an encoder, whose ``action_logits`` (B, Q, 1)
            say "person".
        action_features: (B, Q, D), of which the action logits are made; None if nobody asked for
            them, see :attr:`~tubedet.modeling.ClipModel.gives_features`.
        context_attention: (B, Q, T, H, W), the weights with which queries read the cells of the
            clip for their actions, padding included; None if nobody asked for them.
    """

    action_logits: torch.Tensor | None
    boxes: torch.Tensor
    person_logits: torch.Tensor | None = None
    frame_boxes: torch.Tensor | None = None
    is_proposal: bool = False
    action_features: torch.Tensor | None = None
    context_attention: torch.Tensor | None = None

    @property
    def is_tube(self) -> bool:
        """Whether there are queries for each frame."""
        return self.boxes.dim() == 4

    def of_key_frame(self) -> LayerOutput:
        """Return the queries of the key frame, which are all of them without tube mode."""
        return self.in_frame(self.boxes.shape[1] // 2) if self.is_tube else self

    def in_frame(self, frame: int) -> LayerOutput:
        """Return the queries of one frame in tube mode.

        Args:
            frame: index of the F frames.
        """
        return self.mapped(lambda value: value[:, frame])

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> LayerOutput:
        """Return the layer with other tensors.

        Args:
            change: from a tensor to what takes its place.
        """
        values = {name: getattr(self, name) for name in tensor_fields()}
        changed: Any = {name: change(x) for name, x in values.items() if x is not None}
        return replace(self, **changed)

    @classmethod
    def joined(cls, layers: list[LayerOutput]) -> LayerOutput:
        """Stack layers of equal shapes: every tensor gets a first side L and at least float32."""
        return cls._merged(layers, lambda values: at_least_float32(torch.stack(values)))

    @classmethod
    def batched(cls, layers: list[LayerOutput]) -> LayerOutput:
        """Return the clips of several layers of equal numbers of queries as one batch."""
        return cls._merged(layers, torch.cat)

    @classmethod
    def _merged(cls, layers, merge) -> LayerOutput:
        merged: dict = {"is_proposal": layers[0].is_proposal}
        for name in tensor_fields():
            values = [getattr(layer, name) for layer in layers]
            merged[name] = None if values[0] is None else merge(values)
        return cls(**merged)


def tensor_fields() -> list[str]:
    """Names of the attributes that are tensors or None."""
    return [field.name for field in fields(LayerOutput) if field.name != "is_proposal"]


def tensors_of(outputs: list) -> list[torch.Tensor]:
    """Return all tensors of a result.

    Args:
        outputs: tensors and :class:`LayerOutput`.
    """
    found: list[torch.Tensor] = []
    for output in outputs:
        if isinstance(output, torch.Tensor):
            found.append(output)
        else:
            values = [getattr(output, name) for name in tensor_fields()]
            found += [value for value in values if value is not None]
    return found


def filled_with(form: list, tensors: Iterable[torch.Tensor]) -> list:
    """Return a result of the form of another, with other tensors.

    Args:
        form: tensors and :class:`LayerOutput`.
        tensors: in the order of :func:`tensors_of`.
    """
    remaining = iter(tensors)

    def filled(output: Any) -> Any:
        if isinstance(output, LayerOutput):
            return output.mapped(lambda _: next(remaining))
        return next(remaining)

    return [filled(output) for output in form]


def shapes_of(layer: LayerOutput) -> list:
    """Return what layers must have in common to be joined."""
    values = [getattr(layer, name) for name in tensor_fields()]
    return [layer.is_proposal, *(None if x is None else (x.shape, x.dtype) for x in values)]
