"""How a CSN is executed here: module by module, or as its device does it best.

:mod:`.csn` says what is computed. Each of its parts is a :class:`Part`; which functions run a part
in training and which module replaces it at inference stands in :data:`CPU` and, for NVIDIA GPUs, in
:func:`with_triton`; :meth:`Part.forward` and :meth:`Part.for_inference` choose.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tubedet.layers.cuda import availability

from .folded import FoldedBottleneck, FoldedStem, is_foldable
from .fused_stem import StemFunction
from .fused_training import BottleneckFunction, has_usual_norms, is_full_precision_on_cpu
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


@functools.cache
def with_triton() -> dict[str, Execution]:
    """Return the executions by Triton kernels; Triton is imported here."""
    from .cuda.inference import KernelBottleneck, KernelStem
    from .cuda.training import BottleneckKernels, StemKernels

    return {
        "stem": Execution(
            training=StemKernels,
            input_may_train=False,
            for_inference=lambda part: KernelStem(part.conv, part.norm, part.pool),
        ),
        "bottleneck": Execution(
            training=BottleneckKernels,
            input_may_train=True,
            for_inference=lambda part: KernelBottleneck(*part.convolutions()),
        ),
    }


class Part(nn.Module, ABC):
    """A piece of the network that is executed in any of the ways of :data:`EXECUTIONS`.

    Args:
        execution: see :class:`~tubedet.modeling.CSN`.
        triton: likewise.

    Attributes:
        kind: key of :data:`CPU`.
    """

    kind: str

    def __init__(self, execution: str, triton: bool = False):
        super().__init__()
        self.execution = execution
        self.triton = triton

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
        if torch.jit.is_tracing():  # of fvcore's counters, which know operations of PyTorch alone
            return self.by_modules(x)
        how, pairs = self._execution_for(x), self.convolutions()
        if (
            how is not None
            and (how.input_may_train or not x.requires_grad)
            and has_usual_norms(*(norm for _, norm in pairs))
        ):
            recompute_all = self.execution == "checkpointed"
            parameters = [p for conv, norm in pairs for p in (conv.weight, norm.weight, norm.bias)]
            return how.training.apply(x, self, recompute_all, *parameters)
        if self.execution == "checkpointed":
            return recomputed(self, self.by_modules, x)
        return self.by_modules(x)

    def for_inference(self, dtype: torch.dtype | None = None) -> nn.Module:
        """Return a module that computes the same without being trained.

        A part with a norm that is no affine map stays as it is.

        Args:
            dtype: see :func:`tubedet.modeling.prepare_for_inference`. Kernels cast their weights
                when they run first, whatever it is.
        """
        if not all(is_foldable(norm) for _, norm in self.convolutions()):
            return self
        if self.triton and availability.runs_kernels(next(self.parameters())):
            return with_triton()[self.kind].for_inference(self)
        part = CPU[self.kind].for_inference(self)
        return part if dtype is None else part.to(dtype)

    def _execution_for(self, x: torch.Tensor) -> Execution | None:
        if self.triton and availability.runs_kernels(x):
            return with_triton()[self.kind]
        return CPU[self.kind] if is_full_precision_on_cpu(x) else None


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
