"""The parts of a CSN at inference on GPUs, with their batch norms folded into the convolutions.

Each part falls back to PyTorch's convolutions where the kernels do not run. It casts its weights to
the precision of autocast when that is used first, and keeps them.
"""

from __future__ import annotations

from typing import Any

import torch

from tubedet.layers.cuda import availability
from tubedet.modeling.backbone.csn.folded import FoldedBottleneck, FoldedStem

from .depthwise import depthwise, taps_by_channel
from .launching import compute_dtype, executing_part
from .product_kernel import relu_of_product_sum
from .row_norm import AppliedNorm
from .stem import pooled, stem_maps, window_weight


class KernelStem(FoldedStem):
    """:class:`Stem` of a CSN; arguments as for :class:`FoldedStem`."""

    def __init__(self, *parts: Any):
        super().__init__(*parts)
        # By precision and device. What was made stays: a CUDA graph may read it.
        self._cast: dict[tuple, tuple[torch.Tensor, AppliedNorm]] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, T, H, W) -> (B, C, T, ceil(H/4), ceil(W/4))."""
        if not availability.runs_kernels(x):
            return super().forward(x)
        dtype = compute_dtype(x)
        if (dtype, x.device) not in self._cast:
            values = torch.stack([torch.ones_like(self.bias), self.bias])
            norm = AppliedNorm(values.to(torch.promote_types(dtype, torch.float32)), False)
            self._cast[dtype, x.device] = window_weight(self.weight, dtype), norm
        filters, norm = self._cast[dtype, x.device]
        with executing_part(x):
            out, _ = pooled(stem_maps(x, filters), norm)
        return out.permute(0, 4, 1, 2, 3)


class KernelBottleneck(FoldedBottleneck):
    """:class:`Bottleneck` of a CSN; arguments as for :class:`FoldedBottleneck`."""

    def __init__(self, *parts: Any):
        super().__init__(*parts)
        # By precision and device. What was made stays: a CUDA graph may read it.
        self._cast: dict[tuple, dict[str, torch.Tensor]] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C', T', H', W')."""
        if not availability.runs_kernels(x):
            return super().forward(x)
        dtype = compute_dtype(x)
        if (dtype, x.device) not in self._cast:
            self._cast[dtype, x.device] = self._cast_weights(dtype)
        cast = self._cast[dtype, x.device]
        with executing_part(x):
            out = self._by_kernels(x.permute(0, 2, 3, 4, 1).to(dtype).contiguous(), cast)
        return out.permute(0, 4, 1, 2, 3)

    def _by_kernels(self, maps: torch.Tensor, cast: dict[str, torch.Tensor]) -> torch.Tensor:
        """(B, T, H, W, C) -> (B, T', H', W', C')."""
        rows = maps.view(-1, maps.shape[-1])
        reduced = torch._addmm_activation(cast["reduce_bias"], rows, cast["reduce"])
        reduced = reduced.view(*maps.shape[:-1], -1)
        gathered = depthwise(reduced, cast["taps"], self.stride, bias=cast["depthwise_bias"])
        residual = rows
        if self.project:
            time, row, column = self.stride
            taken = maps[:, ::time, ::row, ::column].flatten(0, -2)
            residual = torch.mm(taken, cast["shortcut"])
        out = relu_of_product_sum(
            gathered.view(-1, gathered.shape[-1]), cast["expand"], cast["expand_bias"], residual
        )
        return out.view(*gathered.shape[:-1], -1)

    def _cast_weights(self, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        def matrix(weight: torch.Tensor) -> torch.Tensor:
            return weight.flatten(1).t().to(dtype).contiguous()

        cast: dict[str, Any] = {
            "reduce": matrix(self.reduce_weight),
            "reduce_bias": self.reduce_bias.to(dtype),
            "taps": taps_by_channel(self.depthwise_weight, dtype),
            "depthwise_bias": self.depthwise_bias,
            "expand": matrix(self.expand_weight),
            "expand_bias": self.expand_bias,
        }
        if self.project:
            cast["shortcut"] = matrix(self.shortcut_weight)
            cast["expand_bias"] = self.expand_bias + self.shortcut_bias
        return cast
