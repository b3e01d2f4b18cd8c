"""Batch norm and ReLU on rows (N, C) of channels, in slices that stay in a CPU's cache.

Unlike the modules these take and give back the statistics, so that a backward pass can compute what
the forward pass did not keep, without counting a batch twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from tubedet.layers.batch_norm import FrozenBatchNorm3d

from .large_memory import empty_maps

# Numbers of a map that are worked on at a time; with float32 they fit into a cache.
_CHUNK_NUMBERS = 1 << 18


class Affine(NamedTuple):
    """What a norm with known statistics does to a row: ``row * scale + shift``, each (C,)."""

    scale: torch.Tensor
    shift: torch.Tensor

    def relu(self, rows: torch.Tensor, *, out: torch.Tensor | None = None) -> torch.Tensor:
        """ReLU of the normed ``rows`` (N, C)."""
        out = empty_maps(rows, *rows.shape) if out is None else out
        for part, result in row_chunks(rows, out):
            torch.addcmul(self.shift, part, self.scale, out=result).relu_()
        return out


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
    def of(cls, norm: Any, slices: Iterable[torch.Tensor]) -> NormStatistics:
        """Those that ``norm`` uses for rows; its running averages are updated.

        Args:
            norm: a batch norm with running averages, or a :class:`FrozenBatchNorm3d`.
            slices: the rows (N, C), some at a time. Each slice is done with before the next one is
                asked for, and all are asked for even where the statistics do not depend on them.

        Raises:
            ValueError: if these would be the statistics of one row.
        """
        if not norm.training or isinstance(norm, FrozenBatchNorm3d):
            for _ in slices:
                pass
            return cls(norm.running_mean.clone(), (norm.running_var + norm.eps).rsqrt(), False)
        num_rows, mean, variance = _mean_and_variance(slices)
        if num_rows == 1:
            raise ValueError("a batch norm that trains needs more than one value per channel")
        unbiased = variance * (num_rows / (num_rows - 1))
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(unbiased, norm.momentum)
        return cls(mean, (variance + norm.eps).rsqrt(), True)

    def affine(self, weight: torch.Tensor, bias: torch.Tensor) -> Affine:
        """Return the norm with its ``weight`` and ``bias`` (C,)."""
        scale = weight * self.inverse_std
        return Affine(scale, bias - self.mean * scale)

    def input_gradient(
        self, weight: torch.Tensor, d_weight: torch.Tensor, d_bias: torch.Tensor, num_rows: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scale, slope and offset (C,) of ``d_row = d_normed * scale + row * slope + offset``.

        Args:
            weight, d_weight, d_bias: weight of the norm, gradients of its weight and bias.
            num_rows: N.
        """
        scale = weight * self.inverse_std
        if not self.of_batch:
            return scale, torch.zeros_like(scale), torch.zeros_like(scale)
        slope = -scale * self.inverse_std * d_weight / num_rows
        return scale, slope, -scale * d_bias / num_rows - slope * self.mean


class NormGradients:
    """Backward pass of a batch norm, slice by slice: :meth:`add` all, then :meth:`apply_` to all.

    Args:
        statistics: those of the forward pass.
        weight: of the norm, (C,).
    """

    def __init__(self, statistics: NormStatistics, weight: torch.Tensor):
        self._statistics = statistics
        self._weight = weight
        self._num_rows = 0
        self._of_rows: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None
        self.d_weight = torch.zeros_like(weight)
        self.d_bias = torch.zeros_like(weight)

    def add(self, grad: torch.Tensor, rows: torch.Tensor) -> None:
        """Count some rows of the input and the gradient of the output, (n, C) each."""
        mean, inverse_std, _ = self._statistics
        _, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            *(_as_map(grad), _as_map(rows), self._weight, None, None, mean, inverse_std),
            True,  # these statistics, wherever they come from
            0.0,
            [False, True, True],
        )
        self.d_weight += d_weight
        self.d_bias += d_bias
        self._num_rows += len(rows)

    def apply_(self, grad: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Make of ``grad`` (n, C) the gradient of its ``rows`` of the input."""
        if self._of_rows is None:
            self._of_rows = self._statistics.input_gradient(
                self._weight, self.d_weight, self.d_bias, self._num_rows
            )
        scale, slope, offset = self._of_rows
        return grad.mul_(scale).addcmul_(rows, slope).add_(offset)


def relu_gradient(
    grad: torch.Tensor, activated: torch.Tensor, *, out: torch.Tensor
) -> torch.Tensor:
    """Gradient of a ReLU's input, given that of its output and the input or the output itself."""
    return torch.ops.aten.threshold_backward.grad_input(grad, activated, 0, grad_input=out)


def _mean_and_variance(slices: Iterable[torch.Tensor]) -> tuple[int, torch.Tensor, torch.Tensor]:
    """Return number, mean and variance of rows; a sum over a million would lose digits."""
    counts, moments = [], []
    for rows in slices:
        counts.append(len(rows))
        moments.append(torch.ops.aten.batch_norm_update_stats(_as_map(rows), None, None, 0.0))
    means, variances = (torch.stack(moment) for moment in zip(*moments))
    num_rows = sum(counts)
    share = means.new_tensor(counts)[:, None] / num_rows
    mean = (means * share).sum(0)
    return num_rows, mean, ((variances + (means - mean).square()) * share).sum(0)


def _as_map(rows: torch.Tensor) -> torch.Tensor:
    """(N, C) as (1, C, N, 1) in channels-last order, for PyTorch's batch-norm kernels."""
    return rows.view(1, len(rows), 1, rows.shape[1]).permute(0, 3, 1, 2)


def as_rows(maps: torch.Tensor) -> torch.Tensor:
    """(B, T, H, W, C) as (N, C)."""
    return maps.view(-1, maps.shape[-1])


def row_chunks(
    *tensors: torch.Tensor, scratch: Sequence[int] = ()
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Return the same few rows of each of the tensors, again and again until all have been seen.

    Args:
        tensors: (N, C), each with a C of its own.
        scratch: widths of tensors that are given along with the rows, uninitialised and with as
            many rows; they use the same memory every time.
    """
    widest = max(*(tensor.shape[1] for tensor in tensors), *scratch, 1)
    size = min(max(1, _CHUNK_NUMBERS // widest), len(tensors[0]))
    buffers = [tensors[0].new_empty(size, width) for width in scratch]
    for parts in zip(*(tensor.split(size) for tensor in tensors)):
        yield *parts, *(buffer[: len(parts[0])] for buffer in buffers)
