"""Activation checkpointing of modules that hold batch norms."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recomputed(
    module: nn.Module, forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
) -> torch.Tensor:
    """``forward(x)``, of which only ``x`` is kept; the backward pass computes the rest again.

    Args:
        module: whose norms ``forward`` runs; their running averages are updated once.
        forward: a differentiable function that draws no random numbers.
        x: its argument.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return checkpoint(
        forward,
        x,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (contextlib.nullcontext(), _averages_kept(norms)),
    )


@contextlib.contextmanager
def _averages_kept(norms: Sequence[nn.Module]) -> Iterator[None]:
    """Within, norms in training mode update copies of their running averages.

    Not tracking would change what autograd saves, which has to be the same both times.
    """
    tracking = [norm for norm in norms if norm.training and norm.track_running_stats]
    averages = [dict(norm.named_buffers(recurse=False)) for norm in tracking]
    for norm, kept in zip(tracking, averages):
        for name, average in kept.items():
            setattr(norm, name, average.clone())
    try:
        yield
    finally:
        for norm, kept in zip(tracking, averages):
            for name, average in kept.items():
                setattr(norm, name, average)
