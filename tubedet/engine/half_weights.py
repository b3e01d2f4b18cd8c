"""Weights in half precision for one pass, made all at once.

Autocast casts every weight by itself, forward and backward: hundreds of launches a step, each of
which takes the host longer than the GPU.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tubedet.layers import LayerNorm, MultiHeadAttention, PreciseLinear
from tubedet.modeling import CSN

_IN_HALF = (nn.Linear, nn.Conv2d, nn.Conv3d, MultiHeadAttention, LayerNorm)


class HalfWeights:
    """Half-precision copies of the weights that autocast would cast one by one.

    These are the float32 weights of linear layers, convolutions, attention and layer norms, but for
    :class:`PreciseLinear` and the CSN, which looks after its own. Gradients reach the parameters in
    float32.

    Args:
        model: also within ``DistributedDataParallel``.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        inner = model.module if isinstance(model, DistributedDataParallel) else model
        # A module that stands at several places is met once.
        modules = {id(module): module for module in _cast_by_autocast(inner)}
        self._slots = [
            (module, name)
            for module in modules.values()
            for name, parameter in module._parameters.items()
            if parameter is not None and parameter.dtype == torch.float32
        ]

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters that have copies, each once."""
        found = [module.get_parameter(name) for module, name in self._slots]
        return list({id(parameter): parameter for parameter in found}.values())

    def call(self, dtype: torch.dtype, *args: Any) -> Any:
        """Call the model with the copies in place of its weights.

        Args:
            dtype: of the copies, that of autocast.
            *args: of the model.
        """
        parameters = self.parameters()
        copies = _CastAll.apply(dtype, *parameters) if parameters else ()
        copy_of = {id(parameter): copy for parameter, copy in zip(parameters, copies)}
        own = [module._parameters[name] for module, name in self._slots]
        try:
            # As torch.func.functional_call does, which leaves copies in modules at several places.
            for (module, name), parameter in zip(self._slots, own):
                module._parameters[name] = copy_of[id(parameter)]
            return self.model(*args)
        finally:
            for (module, name), parameter in zip(self._slots, own):
                module._parameters[name] = parameter


def _cast_by_autocast(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, (CSN, PreciseLinear)):
        return
    if isinstance(module, _IN_HALF):
        yield module
    for child in module.children():
        yield from _cast_by_autocast(child)


class _CastAll(torch.autograd.Function):
    """Copies of many tensors in another precision by one launch, and back for their gradients."""

    @staticmethod
    def forward(ctx, dtype, *tensors):
        ctx.set_materialize_grads(False)
        ctx.dtypes = [tensor.dtype for tensor in tensors]
        return tuple(_copies(tensors, [dtype] * len(tensors)))

    @staticmethod
    def backward(ctx, *gradients):
        there = [index for index, gradient in enumerate(gradients) if gradient is not None]
        full = _copies([gradients[i] for i in there], [ctx.dtypes[i] for i in there])
        found = dict(zip(there, full))
        return None, *(found.get(index) for index in range(len(gradients)))


def _copies(tensors, dtypes) -> list[torch.Tensor]:
    copies = [torch.empty_like(x, dtype=dtype) for x, dtype in zip(tensors, dtypes)]
    if copies:
        torch._foreach_copy_(copies, list(tensors))
    return copies
