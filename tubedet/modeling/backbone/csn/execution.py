"""How a CSN is executed here: module by module, or as its device does it best.

:mod:`.csn` says what is computed. Each of its parts is a :class:`Part`; which functions run a part
in training and which module replaces it at inference stands in :data:`CPU`. Another device gets an
:class:`Execution` of its own, chosen in :meth:`Part.forward` and :meth:`Part.for_inference`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .folded import FoldedBottleneck, FoldedStem, is_foldable
from .fused_stem import StemFunction
from .fused_training import BottleneckFunction, can_fuse
from .recomputation import recomputed

EXECUTIONS = ("modules", "fused", "checkpointed")


@dataclass(frozen=True)
class Execution:
    """How one kind of part is executed on a device.

    Attributes:
        training: runs the part as one step of autograd; its arguments are the input, the part,
            whether everything is computed again in the backward pass, and the parameters.
        input_may_train: whether ``training`` knows the gradient of the input.
        for_inference: part -> module that computes the same without being trained.
    """

    training: type[torch.autograd.Function]
    input_may_train: bool
    for_inference: Callable[[Any], nn.Module]


CPU = {
    "stem": Execution(
        training=StemFunction,
        input_may_train=False,
        for_inference=lambda part: FoldedStem(part.conv, part.norm, part.pool),
    ),
    "bottleneck": Execution(
        training=BottleneckFunction,
        input_may_train=True,
        for_inference=lambda part: FoldedBottleneck(*part.convolutions()),
    ),
}


class Part(nn.Module, ABC):
    """A piece of the network that is executed in any of the ways of :data:`EXECUTIONS`.

    Args:
        execution: see :class:`~tubedet.modeling.CSN`.

    Attributes:
        kind: key of :data:`CPU`.
    """

    kind: str

    def __init__(self, execution: str):
        super().__init__()
        self.execution = execution

    @abstractmethod
    def by_modules(self, x: torch.Tensor) -> torch.Tensor:
        """Compute (B, C, T, H, W) -> (B, C', T', H', W') by the modules of the part.

        Args:
            x: the input.
        """

    @abstractmethod
    def convolutions(self) -> list[tuple[Any, nn.Module]]:
        """Return each convolution with the norm behind it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute (B, C, T, H, W) -> (B, C', T', H', W').

        Args:
            x: the input.
        """
        trains = x.requires_grad or any(p.requires_grad for p in self.parameters())
        if self.execution == "modules" or not trains or not torch.is_grad_enabled():
            return self.by_modules(x)
        how, pairs = CPU[self.kind], self.convolutions()
        is_input_known = how.input_may_train or not x.requires_grad
        if is_input_known and can_fuse(x, *(norm for _, norm in pairs)):
            recompute_all = self.execution == "checkpointed"
            parameters = [p for conv, norm in pairs for p in (conv.weight, norm.weight, norm.bias)]
            return how.training.apply(x, self, recompute_all, *parameters)
        if self.execution == "checkpointed":
            return recomputed(self, self.by_modules, x)
        return self.by_modules(x)

    def for_inference(self) -> nn.Module:
        """Return a module that computes the same without being trained.

        See :func:`tubedet.modeling.prepare_for_inference`. A part with a norm that is no affine map
        stays as it is.
        """
        if not all(is_foldable(norm) for _, norm in self.convolutions()):
            return self
        return CPU[self.kind].for_inference(self)


def in_fast_layout(x: torch.Tensor, execution: str) -> torch.Tensor:
    """Return a clip in the memory layout in which a network is fast on its device.

    Args:
        x: (B, 3, T, H, W).
        execution: of :data:`EXECUTIONS`.
    """
    if x.device.type == "cpu" and execution != "modules":
        # Depthwise convolutions and batch norm run several times faster in this layout.
        return x.contiguous(memory_format=torch.channels_last_3d)
    return x
