"""What a step asks of its device, counted on any device: operators, casts, copies, waits, bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Of these the size or the value of the result depends on values: the CPU waits for a GPU's answer.
_WAITING = {
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_"}
_COPYING = {"_to_copy", "copy_"}
_OVERWRITING = {"copy_", "fill_", "zero_"}
_FREE = {"detach_", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"}


@dataclass
class Counts:
    """Sums over a step, backward pass included.

    Attributes:
        operators: that compute or copy; views and allocations do not.
        casts: copies to another dtype.
        device_copies: from the host to a GPU and back.
        waits: operators whose result the CPU must know before it goes on. Copies from a GPU are
            among them; on the CPU there are none of these.
        gbytes: 1e9 bytes, if every operator reads its inputs and writes its outputs once.
    """

    operators: int = 0
    casts: int = 0
    device_copies: int = 0
    waits: int = 0
    gbytes: float = 0.0


class OperatorCounts(TorchDispatchMode):
    """Counts PyTorch's operators in the block of a ``with`` statement.

    An operator that is made of others counts as these. What a kernel of another library does, such
    as one of Triton, is not seen.

    Attributes:
        counts: so far.
    """

    def __init__(self):
        super().__init__()
        self.counts = Counts()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None) -> Any:
        """Run an operator and count it."""
        kwargs = kwargs or {}
        # Where no gradients are recorded, these arrive in one piece.
        if torch._C._dispatch_has_kernel_for_dispatch_key(
            function.name(), "CompositeImplicitAutograd"
        ):
            with self:
                parts = function.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = function(*args, **kwargs)
        self._count(function, args, kwargs, _tensors(result))
        return result

    def _count(self, function: Any, args: tuple, kwargs: dict, outputs: list) -> None:
        name, inputs = function.overloadpacket.__name__, _tensors((args, kwargs))
        counts = self.counts
        changes = function._schema.is_mutable
        storages = {_storage(x) for x in inputs}
        if not changes and outputs and all(_storage(x) in storages for x in outputs):
            return  # a view
        if name in _FREE:
            return
        read = {id(x): x for x in inputs}
        if name in _OVERWRITING:
            read.pop(id(args[0]))
        counts.operators += 1
        counts.gbytes += sum(map(_num_bytes, [*read.values(), *outputs])) / 1e9
        waits = name in _WAITING
        if name in _INDEXING:
            waits = any(x.dtype in (torch.bool, torch.uint8) for x in _tensors(args[1]))
        elif name in _COPYING:
            source = inputs[-1]
            counts.casts += source.dtype != outputs[0].dtype
            if source.device.type != outputs[0].device.type:
                counts.device_copies += 1
                waits = outputs[0].device.type == "cpu"
        counts.waits += waits


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, torch.Tensor)]


def _storage(x: torch.Tensor) -> int:
    return x.untyped_storage()._cdata


def _num_bytes(x: torch.Tensor) -> int:
    """Of the elements that are there: those of an expanded tensor are read once."""
    return min(x.numel() * x.element_size(), x.untyped_storage().nbytes())
