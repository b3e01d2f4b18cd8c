"""Batch norm and ReLU on rows (N, C) of channels, in slices that stay in a CPU's cache.

Unlike the modules these functions take and give back the statistics, so that a backward pass can
compute what the forward pass did not keep, without counting a batch twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn

from .batch_norm import FrozenBatchNorm3d

# Numbers of a map that are worked on at a time; with float32 they fit into a cache.
_CHUNK_NUMBERS = 1 << 18


class NormStatistics(NamedTuple):
    """What a batch norm applied, so that it can be applied again.

    Attributes:
        mean, inverse_std: (C,).
        of_batch: whether they are those of the batch, and so depend on the input.
    """

    mean: torch.Tensor
    inverse_std: torch.Tensor
    of_batch: bool

    @classmethod
    def of(cls, norm: nn.Module, rows: torch.Tensor) -> NormStatistics:
        """Those that ``norm`` uses for ``rows`` (N, C); its running averages are updated.

        Raises:
            ValueError: if these would be the statistics of one row.
        """
        if not norm.training or isinstance(norm, FrozenBatchNorm3d):
            return cls(norm.running_mean, (norm.running_var + norm.eps).rsqrt(), False)
        if len(rows) == 1:
            raise ValueError("a batch norm that trains needs more than one value per channel")
        mean, variance = _mean_and_variance(rows)
        unbiased = variance * (len(rows) / (len(rows) - 1))
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(unbiased, norm.momentum)
        return cls(mean, (variance + norm.eps).rsqrt(), True)

    def affine(self, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and shift (C,) of the norm with its ``weight`` and ``bias``."""
        scale = weight * self.inverse_std
        return scale, bias - self.mean * scale


def norm_relu(
    rows: torch.Tensor, statistics: NormStatistics, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """ReLU of the normed ``rows`` (N, C), in new memory."""
    scale, shift = statistics.affine(weight, bias)
    out = torch.empty_like(rows)
    for part, result in row_chunks(rows, out):
        torch.addcmul(shift, part, scale, out=result).relu_()
    return out


def norm_gradients(
    grad: torch.Tensor,
    rows: torch.Tensor,
    statistics: NormStatistics,
    weight: torch.Tensor,
    *,
    out: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Backward pass of a batch norm.

    Args:
        grad: gradient of the output, (N, C).
        rows: the input, (N, C).
        statistics: those of the forward pass.
        weight: of the norm.
        out: where the gradient of the input goes; may be ``grad`` or ``rows``.

    Returns:
        gradients of weight and bias, (C,).
    """
    mean, inverse_std, of_batch = statistics
    _, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
        _as_map(grad),
        _as_map(rows),
        weight,
        None,
        None,
        mean,
        inverse_std,
        True,  # these statistics, wherever they come from
        0.0,
        [False, True, True],
    )
    scale = weight * inverse_std
    slope = -scale * inverse_std * d_weight / len(rows)
    offset = -scale * d_bias / len(rows) - slope * mean
    for part, grad_part, result in row_chunks(rows, grad, out):
        if not of_batch:
            torch.mul(grad_part, scale, out=result)
        elif out is rows:
            torch.addcmul(offset, part, slope, out=result).addcmul_(grad_part, scale)
        else:
            torch.addcmul(torch.addcmul(offset, part, slope), grad_part, scale, out=result)
    return d_weight, d_bias


def _mean_and_variance(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each column, from those of the slices: one sum over a million rows would lose digits."""
    slices = [part for (part,) in row_chunks(rows)]
    moments = [torch.ops.aten.batch_norm_update_stats(_as_map(s), None, None, 0.0) for s in slices]
    means, variances = (torch.stack(moment) for moment in zip(*moments))
    share = rows.new_tensor([[len(s) / len(rows)] for s in slices])
    mean = (means * share).sum(0)
    return mean, ((variances + (means - mean).square()) * share).sum(0)


def _as_map(rows: torch.Tensor) -> torch.Tensor:
    """(N, C) as (1, C, N, 1) in channels-last order, for PyTorch's batch-norm kernels."""
    return rows.view(1, len(rows), 1, -1).permute(0, 3, 1, 2)


def row_chunks(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same few rows of each of the (N, C) tensors, again and again until all have been seen."""
    size = max(1, _CHUNK_NUMBERS // tensors[0].shape[1])
    return zip(*(tensor.split(size) for tensor in tensors))
