"""Activation checkpointing of modules that hold batch norms."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recomputed(
    module: nn.Module, forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor
) -> torch.Tensor:
    """``forward(x)``, of which only ``x`` is kept; the backward pass computes the rest again.

    Args:
        module: whose norms ``forward`` runs; their running averages are updated once.
        forward: a differentiable function.
        x: its argument.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return checkpoint(
        forward,
        x,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _untracked(norms)),
    )


@contextlib.contextmanager
def _untracked(norms: list[nn.Module]) -> Iterator[None]:
    """Within, norms in training mode use the statistics of the batch and remember nothing."""
    tracking = [norm for norm in norms if norm.training and norm.track_running_stats]
    for norm in tracking:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in tracking:
            norm.track_running_stats = True
