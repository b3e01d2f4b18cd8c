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

_IN_HALF = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.ConvTranspose3d, MultiHeadAttention, LayerNorm)
# Numbers of the weights that are cast together: a few launches a pass, and processes can exchange
# the gradients of the first ones while those of the others are computed.
_GROUP_NUMBERS = 8 << 20


class HalfWeights:
    """Half-precision copies of the weights that autocast would cast one by one.

    These are the float32 weights of linear layers, convolutions, attention and layer norms, but for
    :class:`PreciseLinear`. Gradients reach the parameters in float32. (Within
    ``DistributedDataParallel``, a weight that no loss depends on gets the gradient zero instead of
    being reported.)

    Args:
        model: also within ``DistributedDataParallel``.
    """

    def __init__(self, model: nn.Module):
        self.model = model
        inner = model.module if isinstance(model, DistributedDataParallel) else model
        self._slots = list(_cast_by_autocast(inner))

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters that have copies, each once."""
        found: list[Any] = [module._parameters[name] for module, name in self._slots]
        return list({id(parameter): parameter for parameter in found}.values())

    def call(self, dtype: torch.dtype, *args: Any) -> Any:
        """Call the model with the copies in place of its weights.

        Args:
            dtype: of the copies, that of autocast.
            *args: of the model.
        """
        copy_of = {
            id(parameter): copy
            for group in _groups(self.parameters())
            for parameter, copy in zip(group, _CastAll.apply(dtype, *group))
        }
        own = [module._parameters[name] for module, name in self._slots]
        try:
            # As torch.func.functional_call does, which leaves copies in modules at several places.
            for (module, name), parameter in zip(self._slots, own):
                module._parameters[name] = copy_of[id(parameter)]
            return self.model(*args)
        finally:
            for (module, name), parameter in zip(self._slots, own):
                module._parameters[name] = parameter


def store_in_half(model: nn.Module, dtype: torch.dtype) -> None:
    """Keep the weights that autocast would cast in the precision of autocast, in place.

    Args:
        model: is only used under autocast from now on, and not trained.
        dtype: that of autocast.
    """
    halved: dict[int, nn.Parameter] = {}
    for module, name in list(_cast_by_autocast(model)):
        parameter = module.get_parameter(name)
        if id(parameter) not in halved:
            halved[id(parameter)] = nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
        module._parameters[name] = halved[id(parameter)]


def _cast_by_autocast(model: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Modules and names of the weights; a module that stands at several places comes once."""
    for module in model.modules():
        if isinstance(module, _IN_HALF) and not isinstance(module, PreciseLinear):
            for name, parameter in module._parameters.items():
                if parameter is not None and parameter.dtype == torch.float32:
                    yield module, name


def _groups(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Give the parameters in their order, some at a time."""
    group: list[nn.Parameter] = []
    numbers = 0
    for parameter in parameters:
        group.append(parameter)
        numbers += parameter.numel()
        if numbers >= _GROUP_NUMBERS:
            yield group
            group, numbers = [], 0
    if group:
        yield group


class _CastAll(torch.autograd.Function):
    """Copies of many tensors in another precision by one launch, and back for their gradients."""

    @staticmethod
    def forward(ctx, dtype, *tensors):
        ctx.set_materialize_grads(False)
        ctx.forms = [(x.shape, x.stride(), x.dtype) for x in tensors]
        copies = _copies(tensors, [(x.shape, x.stride(), dtype) for x in tensors])
        # What is frozen stays so, and nothing before it computes gradients.
        frozen = [c for c, tensor in zip(copies, tensors) if not tensor.requires_grad]
        ctx.mark_non_differentiable(*frozen)
        return tuple(copies)

    @staticmethod
    def backward(ctx, *gradients):
        there = [index for index, gradient in enumerate(gradients) if gradient is not None]
        # As the parameters lie in memory, as optimisers and the exchange of gradients want it.
        full = _copies([gradients[i] for i in there], [ctx.forms[i] for i in there])
        found = dict(zip(there, full))
        return None, *(found.get(index) for index in range(len(gradients)))


def _copies(tensors, forms) -> list[torch.Tensor]:
    """Copy to new tensors of some shape, strides and dtype each."""
    copies = [
        torch.empty_strided(shape, stride, dtype=dtype, device=x.device)
        for x, (shape, stride, dtype) in zip(tensors, forms)
    ]
    if copies:
        torch._foreach_copy_(copies, list(tensors))
    return copies
