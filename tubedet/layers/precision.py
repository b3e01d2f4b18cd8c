"""Which parts run in half precision under autocast, and which in full.

Half precision is too coarse for boxes, matching and losses. Between 0.5 and 1 bfloat16 knows 128
numbers: in a frame of 1920 pixels boxes would move in steps of 7.5 pixels.
"""

from __future__ import annotations

import contextlib
from typing import overload

import torch
import torch.nn.functional as F
from torch import nn


@overload
def at_least_float32(x: torch.Tensor) -> torch.Tensor: ...


@overload
def at_least_float32(x: None) -> None: ...


def at_least_float32(x):
    """Half precision to float32; other dtypes, and None, unchanged."""
    half = x is not None and x.dtype in (torch.float16, torch.bfloat16)
    return x.float() if half else x


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """Return the precision of autocast on a device; None: it is off, or the device has none.

    Args:
        device: any; some, such as "meta", have no autocast.
    """
    kind = device.type
    if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
        return None
    return torch.get_autocast_dtype(kind)


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Within, operators on a device run in the precision of their arguments."""
    if autocast_dtype(device) is None:
        return contextlib.nullcontext()  # exporters do not need to see a context
    return torch.autocast(device.type, enabled=False)


def precise_linear(layer: nn.Linear, x: torch.Tensor) -> torch.Tensor:
    """Apply a linear layer (..., C) -> (..., D) in float32 at least, also under autocast."""
    with without_autocast(x.device):
        weight, bias = at_least_float32(layer.weight), at_least_float32(layer.bias)
        return F.linear(at_least_float32(x), weight, bias)


class PreciseLinear(nn.Linear):
    """A linear layer (..., C) -> (..., D) that is float32 at least, also under autocast."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """See :func:`precise_linear`."""
        return precise_linear(self, x)


def as_autocast(x: torch.Tensor) -> torch.Tensor:
    """Cast to the precision of autocast, if it is on: once, and not for every use."""
    dtype = autocast_dtype(x.device) if x.dtype == torch.float32 else None
    return x if dtype is None else x.to(dtype)


class LayerNorm(nn.LayerNorm):
    """Layer norm in the precision of autocast on every device, with statistics in float32.

    A GPU's own autocast makes the whole norm float32, so that whatever follows it is cast again.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) -> (..., C)."""
        x = as_autocast(x)
        with without_autocast(x.device):
            if not self.elementwise_affine:
                return F.layer_norm(x, self.normalized_shape, eps=self.eps)
            weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
            return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)
