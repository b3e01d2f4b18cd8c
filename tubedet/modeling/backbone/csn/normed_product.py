"""Matrix products followed by a batch norm, on rows (N, C) in slices that stay in a CPU's cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .row_norm import Affine, NormStatistics, row_chunks


class NormedProductGradients:
    """Backward pass of ``norm(rows @ matrix.T)`` that never computes the product.

    A norm's gradient needs its input y = rows @ matrix.T only in sums, and in a term linear in y:
    both follow from the much smaller rows.T @ rows and grad.T @ rows. These are summed with the
    rows' approximate mean taken off, because it would cost digits and cancels in the end.

    Args:
        matrix: (D, C).
        statistics: those of the norm in the forward pass.
        weight: of the norm, (D,).
    """

    def __init__(self, matrix: torch.Tensor, statistics: NormStatistics, weight: torch.Tensor):
        self._matrix, self._statistics, self._weight = matrix, statistics, weight
        #: (D, C): ``grad @ direct`` is the part of the rows' gradient that needs no sums.
        self.direct = matrix * (weight * statistics.inverse_std)[:, None]
        self._num_rows = 0
        self._reference: torch.Tensor | None = None
        self._grad_sum = torch.zeros_like(weight)
        self._row_sum = matrix.new_zeros(matrix.shape[1])
        self._grad_by_rows = torch.zeros_like(matrix)
        self._rows_by_rows = matrix.new_zeros(matrix.shape[1], matrix.shape[1])

    def add(self, grad: torch.Tensor, rows: torch.Tensor) -> None:
        """Count some rows (n, C) and the gradient of the output for them, (n, D)."""
        self._num_rows += len(rows)
        self._grad_sum += grad.sum(0)
        if self._statistics.of_batch:
            if self._reference is None:
                self._reference = rows.mean(0)
            rows = rows - self._reference
            self._row_sum += rows.sum(0)
            self._rows_by_rows.addmm_(rows.t(), rows)
        self._grad_by_rows.addmm_(grad.t(), rows)

    def finish(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Gradients of matrix (D, C) and of the norm's weight and bias (D,), of all that was added.

        To be called once, before :meth:`complete_`.
        """
        mean, inverse_std, of_batch = self._statistics
        matrix, d_bias = self._matrix, self._grad_sum
        if not of_batch:
            d_weight = ((self._grad_by_rows * matrix).sum(1) - mean * d_bias) * inverse_std
            scale = self._weight * inverse_std
            return self._grad_by_rows * scale[:, None], d_weight, d_bias
        row_mean = self._row_sum / self._num_rows
        grad_by_centred = self._grad_by_rows.addr_(d_bias, row_mean, alpha=-1)
        scatter = self._rows_by_rows.addr_(self._row_sum, row_mean, alpha=-1)
        d_weight = (grad_by_centred * matrix).sum(1) * inverse_std
        scale, slope, _ = self._statistics.input_gradient(
            self._weight, d_weight, d_bias, self._num_rows
        )
        self._through_norm = matrix.t() @ (slope[:, None] * matrix)
        self._offset = -(scale * d_bias / self._num_rows) @ matrix
        assert self._reference is not None  # rows were added
        self._offset -= (self._reference + row_mean) @ self._through_norm
        d_matrix = grad_by_centred * scale[:, None] + slope[:, None] * (matrix @ scatter)
        return d_matrix, d_weight, d_bias

    def complete_(self, d_rows: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Make of ``grad @ direct`` (n, C) the gradient of the ``rows`` (n, C)."""
        if not self._statistics.of_batch:
            return d_rows
        return d_rows.addmm_(rows, self._through_norm).add_(self._offset)


def products(
    rows: torch.Tensor, matrix: torch.Tensor, *, out: torch.Tensor, norm: Affine | None = None
) -> Iterator[torch.Tensor]:
    """Write ``rows @ matrix.T`` to ``out`` and give it slice by slice, while it is in the cache.

    Args:
        rows: (N, C).
        matrix: (D, C).
        out: (N, D).
        norm: takes the place of the rows with their norm and ReLU.
    """
    scratch = () if norm is None else (rows.shape[1],)
    for part, result, *normed in row_chunks(rows, out, scratch=scratch):
        if norm is not None:
            part = norm.relu(part, out=normed[0])
        yield torch.mm(part, matrix.t(), out=result)
