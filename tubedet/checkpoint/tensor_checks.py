"""Which tensors of a file can be weights."""

from __future__ import annotations

import numpy as np
import torch

# With the fractions of 8 bits and the packed kinds come scales, which nobody here would apply.
_PLAIN_TYPES = frozenset(
    {
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool),
        *(torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    }
)


def tensor_fault(tensor: torch.Tensor) -> str | None:
    """Return why a tensor cannot be used, as the end of a sentence; None if it can.

    Args:
        tensor: as it was read from a file, on the CPU.
    """
    if tensor.is_nested:
        return "is a nested tensor, not a plain one"
    if tensor.layout != torch.strided:
        return f"is a sparse tensor ({tensor.layout}); save it with to_dense()"
    if tensor.device.type == "meta":
        return "has no numbers (device 'meta'); load weights into that model before saving it"
    if tensor.is_complex():
        return f"holds complex numbers ({tensor.dtype})"
    if tensor.is_quantized or tensor.dtype not in _PLAIN_TYPES:
        return f"is quantised ({tensor.dtype}); save the weights in float32"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "claims more elements than are stored"
    return number_fault(tensor)


def number_fault(tensor: torch.Tensor) -> str | None:
    """Return which numbers of a plain tensor are none; None if all are.

    Args:
        tensor: of fractions, or of anything else, which is always right.
    """
    if not tensor.is_floating_point():
        return None
    num_bad = tensor.numel() - int(torch.isfinite(tensor).sum())
    if not num_bad:
        return None
    return f"has {num_bad} of {tensor.numel()} numbers that are NaN or infinite"


def array_fault(array: np.ndarray | np.generic) -> str | None:
    """Return why an array of numpy cannot become a tensor; None if it can.

    Args:
        array: as it was read from a file.
    """
    if array.dtype.kind in "fiub" and array.dtype.itemsize <= 8:
        return None
    if array.dtype.kind == "c":
        return f"holds complex numbers ({array.dtype})"
    return f"is an array of {array.dtype}, not of numbers that a tensor can hold"
