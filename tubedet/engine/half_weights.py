"""Weights in half precision for one pass, made all at once.

Autocast casts every weight by itself, forward and backward: hundreds of launches a step, each of
which takes the host longer than the GPU.
"""

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
        model: also within ``DistributedDataParallel``; its parameters must stay the same tensors.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        inner = model.module if isinstance(model, DistributedDataParallel) else model
        prefix = "module." if inner is not model else ""
        named: dict[str, nn.Parameter] = {}
        for name, parameter in _cast_by_autocast(inner, ""):
            if parameter.dtype == torch.float32 and all(parameter is not p for p in named.values()):
                named[prefix + name] = parameter
        self.names, self.parameters = list(named), list(named.values())

    def call(self, dtype: torch.dtype, *args: Any) -> Any:
        """Call the model with the copies in place of its weights.

        Args:
            dtype: of the copies, that of autocast.
            *args: of the model.
        """
        if not self.parameters:
            return self.model(*args)
        copies = _CastAll.apply(dtype, *self.parameters)
        return torch.func.functional_call(self.model, dict(zip(self.names, copies)), args)


def _cast_by_autocast(module: nn.Module, prefix: str):
    if isinstance(module, (CSN, PreciseLinear)):
        return
    if isinstance(module, _IN_HALF):
        for name, parameter in module.named_parameters(prefix.rstrip("."), recurse=False):
            yield name, parameter
    for name, child in module.named_children():
        yield from _cast_by_autocast(child, f"{prefix}{name}.")


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
