"""A moving average of the weights of a model that trains."""

from __future__ import annotations

import torch
from detectron2.engine import HookBase
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from tubedet.errors import UserError


class WeightAverage(HookBase):
    """Keep the exponential moving average of a model's weights, after every iteration.

    Parameters and the statistics of norms are averaged, so that the noise of single updates
    cancels. The average starts from the weights after the first iteration, and lags behind the
    model by about ``1 / (1 - decay)`` iterations.

    Register it before the hooks that save and evaluate.

    Args:
        model: the model that trains; may be wrapped in DistributedDataParallel. The average needs
            memory for its weights once more.
        decay: share of the average that an iteration keeps, in [0, 1).

    Raises:
        UserError: if ``decay`` is not in that range.

    Attributes:
        module: a model with the averaged weights.
    """

    def __init__(self, model: nn.Module, decay: float):
        if not 0 <= decay < 1:
            raise UserError(f"SOLVER.EMA.DECAY is {decay}; give a number from 0 to below 1")
        self._model = model.module if isinstance(model, DistributedDataParallel) else model
        self._average = AveragedModel(
            self._model, multi_avg_fn=_moving_average(decay), use_buffers=True
        ).requires_grad_(False)

    @property
    def module(self) -> nn.Module:
        """The averaged model; the next iteration changes it."""
        return self._average.module

    @property
    def is_started(self) -> bool:
        """Whether there are averaged weights, of an iteration or of a checkpoint."""
        return bool(self._average.n_averaged)

    def after_step(self) -> None:
        """Take the weights of this iteration into the average."""
        self._average.update_parameters(self._model)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the averaged weights, under the names that they have in the model."""
        return self.module.state_dict()

    def load_state_dict(self, state_dict: dict[str, torch.Tensor]) -> None:
        """Go on from the averaged weights of a checkpoint.

        Args:
            state_dict: as :meth:`state_dict` returned it.
        """
        self.module.load_state_dict(state_dict)
        self._average.n_averaged.fill_(1)  # the first update does not replace them


def _moving_average(decay: float):
    """Update an :class:`AveragedModel`; counters are copied."""

    @torch.no_grad()
    def update(averaged: list[torch.Tensor], current: list[torch.Tensor], _) -> None:
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - decay)
        else:
            torch._foreach_copy_(averaged, current)

    return update
