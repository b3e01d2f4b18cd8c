"""What detectors share whose actions are read from the whole clip by a context branch."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch

from tubedet.modeling.clip_batch import ClipBatch
from tubedet.modeling.heads import ContextActionHead
from tubedet.modeling.layer_output import LayerOutput

from .clip_detector import ClipDetector


class ContextDetector(ClipDetector):
    """Tells where the context branch of a person looks: once, for all actions of the person.

    Attributes:
        action_head: the context branch; None: actions, if there are any, are told without it.
    """

    attends_by_action = False
    action_head: ContextActionHead | None

    @property
    def explains_actions(self) -> bool:
        """See :attr:`ClipModel.explains_actions`."""
        return self.action_head is not None

    @abstractmethod
    def predict(
        self, clips: ClipBatch, all_layers: bool = False, with_attention: bool = False
    ) -> list[LayerOutput]:
        """See :meth:`ClipDetector.predict`.

        Args:
            clips: likewise.
            all_layers: likewise.
            with_attention: layers have ``context_attention`` too, from their context branch.

        Returns:
            likewise.
        """

    def predict_with_attention(self, clips: ClipBatch) -> tuple[LayerOutput, torch.Tensor]:
        """See :meth:`ClipDetector.predict_with_attention`; the sum over the time steps."""
        (layer,) = self.predict(clips, with_attention=True)
        assert layer.context_attention is not None  # as it was asked for
        of_person = layer.context_attention.sum(2)
        return layer, of_person[:, :, None].expand(-1, -1, self.num_actions, -1, -1)

    @staticmethod
    def with_context_attention(
        layers: list[LayerOutput], attention: torch.Tensor | None
    ) -> list[LayerOutput]:
        """Return the layers with the attention (L, B, Q, T, H, W) of each, if there is one."""
        if attention is None:
            return layers
        return [replace(layer, context_attention=x) for layer, x in zip(layers, attention)]
