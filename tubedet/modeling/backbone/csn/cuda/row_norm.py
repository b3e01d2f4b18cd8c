"""Batch norm and ReLU of rows (N, C) on GPUs: forward and backward pass in few launches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tubedet.layers import FrozenBatchNorm3d
from tubedet.layers.cuda.availability import accumulator
from tubedet.layers.cuda.grid_sizes import ceil_div, next_power_of_2

from . import norm_kernels as kernels

# Numbers that a program works on at a time, and the most chunks into which rows are divided.
_BLOCK_NUMBERS = 4096
_MAX_CHUNKS = 512
_BLOCK_CHUNKS = 64


@dataclass(frozen=True)
class AppliedNorm:
    """What a batch norm applied to some rows.

    Attributes:
        values: (4, C): scale, shift, mean and 1 / standard deviation, at least float32.
        of_batch: whether these are statistics of the rows, and so depend on them.
    """

    values: torch.Tensor
    of_batch: bool

    @classmethod
    def of(cls, norm: Any, rows: torch.Tensor) -> AppliedNorm:
        """Return what ``norm`` does to ``rows`` (N, C); its running averages are updated.

        Args:
            norm: a batch norm with running averages, or a :class:`FrozenBatchNorm3d`.
            rows: its input.

        Raises:
            ValueError: if these would be the statistics of one row.
        """
        num_rows, channels = rows.shape
        of_batch = norm.training and not isinstance(norm, FrozenBatchNorm3d)
        if of_batch and num_rows == 1:
            raise ValueError("a batch norm that trains needs more than one value per channel")
        kind = torch.promote_types(rows.dtype, torch.float32)
        values = rows.new_empty((4, channels), dtype=kind)
        chunks = _Chunks.of(rows)
        means, squares, batches = values, values, values
        if of_batch:
            means, squares = chunks.new_sums(rows), chunks.new_sums(rows)
            batches = norm.num_batches_tracked
            kernels.chunk_statistics[chunks.grid](
                *(rows, means, squares, num_rows, channels, chunks.rows_per_chunk),
                *(accumulator(rows.dtype), chunks.block_rows, chunks.block_channels),
            )
        kernels.finish_statistics[(ceil_div(channels, 32),)](
            *(means, squares, chunks.number, chunks.rows_per_chunk, num_rows, channels),
            *(norm.weight, norm.bias, norm.running_mean, norm.running_var, batches, values),
            *(norm.eps, getattr(norm, "momentum", 0.0), of_batch, accumulator(rows.dtype)),
            *(_BLOCK_CHUNKS, 32),
        )
        return cls(values, of_batch)

    def relu(
        self,
        rows: torch.Tensor,
        *,
        out: torch.Tensor | None = None,
        other: torch.Tensor | None = None,
        other_norm: AppliedNorm | None = None,
    ) -> torch.Tensor:
        """Return the ReLU of the normed rows, or of their sum with other rows.

        Args:
            rows: (N, C).
            out: where to; may be ``rows``.
            other: (N, C) rows to add.
            other_norm: applied to ``other``.
        """
        out = torch.empty_like(rows) if out is None else out
        block_rows, block_channels = _blocks(rows.shape[1])
        grid = (ceil_div(len(rows), block_rows), ceil_div(rows.shape[1], block_channels))
        kernels.norm_relu[grid](
            *(rows, self.values, rows if other is None else other),
            *(self.values if other_norm is None else other_norm.values, out, *rows.shape),
            *(other is not None, other_norm is not None, accumulator(rows.dtype)),
            *(block_rows, block_channels),
        )
        return out

    def gradients(
        self,
        grad: torch.Tensor,
        rows: torch.Tensor,
        *,
        activated: torch.Tensor | None = None,
        masked: torch.Tensor | None = None,
    ) -> NormGradients:
        """Return the gradients of the norm's parameters, and what those of the rows need.

        Args:
            grad: (N, C), gradient of the output of the ReLU, or of the norm.
            rows: (N, C), input of the norm.
            activated: output of a ReLU behind the norm (and what was added to it). Without, the
                ReLU followed the norm immediately.
            masked: takes the gradient before the ReLU; may be ``grad``. None: there is no ReLU.
        """
        chunks, channels = _Chunks.of(rows), rows.shape[1]
        sums, products = chunks.new_sums(rows), chunks.new_sums(rows)
        kind = 0 if masked is None else 1 if activated is None else 2
        kernels.chunk_gradients[chunks.grid](
            *(grad, rows, rows if activated is None else activated, self.values),
            *(grad if masked is None else masked, sums, products, len(rows), channels),
            *(chunks.rows_per_chunk, kind, accumulator(rows.dtype)),
            *(chunks.block_rows, chunks.block_channels),
        )
        values = torch.empty_like(self.values)
        kernels.finish_gradients[(ceil_div(channels, 32),)](
            *(sums, products, chunks.number, len(rows), channels, self.values, values),
            *(self.of_batch, accumulator(rows.dtype), _BLOCK_CHUNKS, 32),
        )
        return NormGradients(self, values)


@dataclass(frozen=True)
class NormGradients:
    """Backward pass of an :class:`AppliedNorm`.

    Attributes:
        norm: the norm.
        values: (4, C): gradients of its weight and bias, and the slope and offset with which the
            rows themselves enter their gradient.
    """

    norm: AppliedNorm
    values: torch.Tensor

    @property
    def weight(self) -> torch.Tensor:
        """Gradient of the norm's weight, (C,)."""
        return self.values[0]

    @property
    def bias(self) -> torch.Tensor:
        """Gradient of the norm's bias, (C,)."""
        return self.values[1]

    def of_rows(self, grad: torch.Tensor, rows: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
        """Fill ``out`` with the gradient of the rows.

        Args:
            grad: (N, C), gradient of the norm's output, behind no ReLU.
            rows: (N, C), input of the norm.
            out: may be ``grad`` or ``rows``.
        """
        block_rows, block_channels = _blocks(rows.shape[1])
        grid = (ceil_div(len(rows), block_rows), ceil_div(rows.shape[1], block_channels))
        kernels.rows_gradient[grid](
            *(grad, rows, self.norm.values, self.values, out, *rows.shape),
            *(accumulator(rows.dtype), block_rows, block_channels),
        )
        return out


@dataclass(frozen=True)
class _Chunks:
    """How rows are divided among programs."""

    number: int
    rows_per_chunk: int
    channels: int
    block_rows: int
    block_channels: int

    @classmethod
    def of(cls, rows: torch.Tensor) -> _Chunks:
        num_rows, channels = rows.shape
        block_rows, block_channels = _blocks(channels)
        number = min(_MAX_CHUNKS, ceil_div(num_rows, block_rows))
        rows_per_chunk = ceil_div(ceil_div(num_rows, number), block_rows) * block_rows
        number = ceil_div(num_rows, rows_per_chunk)
        return cls(number, rows_per_chunk, channels, block_rows, block_channels)

    @property
    def grid(self) -> tuple[int, int]:
        return self.number, ceil_div(self.channels, self.block_channels)

    def new_sums(self, rows: torch.Tensor) -> torch.Tensor:
        kind = torch.promote_types(rows.dtype, torch.float32)
        return rows.new_empty((self.number, self.channels), dtype=kind)


def _blocks(channels: int) -> tuple[int, int]:
    """Rows and channels that a program works on at a time."""
    block_channels = min(128, max(8, next_power_of_2(channels)))
    return _BLOCK_NUMBERS // block_channels, block_channels
