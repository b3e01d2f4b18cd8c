"""Schedules of the learning rate: detectron2's, and that of the published video ViTs."""

from __future__ import annotations

import math

import torch
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier
from detectron2.solver import build_lr_scheduler as build_detectron2_scheduler
from fvcore.common.param_scheduler import ParamScheduler
from torch.optim.lr_scheduler import LRScheduler

from tubedet.errors import UserError

# What SOLVER.LR_SCHEDULER_NAME calls :class:`FullWarmupCosine`.
FULL_WARMUP_COSINE = "FullWarmupCosineLR"


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Build the schedule of a config.

    Args:
        cfg: ``SOLVER.LR_SCHEDULER_NAME`` is one of detectron2's or "FullWarmupCosineLR".
        optimizer: whose learning rates it changes.

    Raises:
        UserError: if there is no such schedule, or its values do not fit.
    """
    try:
        if cfg.SOLVER.LR_SCHEDULER_NAME != FULL_WARMUP_COSINE:
            return build_detectron2_scheduler(cfg, optimizer)
        multiplier = FullWarmupCosine(
            num_steps=cfg.SOLVER.MAX_ITER,
            num_warmup=cfg.SOLVER.WARMUP_ITERS,
            first=cfg.SOLVER.WARMUP_FACTOR,
            last=cfg.SOLVER.BASE_LR_END / cfg.SOLVER.BASE_LR,
        )
        return LRMultiplier(optimizer, multiplier=multiplier, max_iter=cfg.SOLVER.MAX_ITER)
    except ZeroDivisionError as error:
        raise UserError("SOLVER.BASE_LR is 0; a cosine needs a positive one") from error
    except AssertionError as error:  # of detectron2, without a word
        raise UserError(
            f"SOLVER.BASE_LR_END is {cfg.SOLVER.BASE_LR_END}; give 0 to SOLVER.BASE_LR"
        ) from error
    except (IndexError, ValueError) as error:  # the former for too few SOLVER.STEPS
        raise UserError(f"SOLVER.LR_SCHEDULER_NAME or its values: {error}") from error


class FullWarmupCosine(ParamScheduler):
    """Linear warm-up up to and including the full rate, then half a cosine from it.

    The rule of VideoMAE and UMT. detectron2's "WarmupCosineLR" reaches the full rate one step
    later, and cuts off what the cosine loses during the warm-up.

    Args:
        num_steps: iterations of the training.
        num_warmup: W, iterations of the warm-up. The first one has the rate ``first``, the last one
            the full rate, and iteration W, with which the cosine begins, has it once more.
        first: share of the full rate at the first iteration (published: 0).
        last: share of the full rate to which the cosine falls, which it would reach with iteration
            ``num_steps``.

    Raises:
        ValueError: if a number is out of range.
    """

    def __init__(self, *, num_steps: int, num_warmup: int, first: float, last: float):
        if not (num_steps > 0 and num_warmup >= 0):
            raise ValueError(
                f"MAX_ITER is {num_steps} and WARMUP_ITERS {num_warmup}; give at least 1 and 0"
            )
        if not (0 <= first <= 1 and 0 <= last <= 1):
            raise ValueError(
                f"WARMUP_FACTOR is {first} and BASE_LR_END / BASE_LR {last}; give numbers in [0, 1]"
            )
        self._num_steps = num_steps
        self._num_warmup = num_warmup
        self._first = first
        self._last = last

    def __call__(self, where: float) -> float:
        """Return the share of the full learning rate.

        Args:
            where: share of the training that is over, in [0, 1].
        """
        step = round(where * self._num_steps)
        if step < self._num_warmup:
            progress = step / max(self._num_warmup - 1, 1)
            return self._first + (1 - self._first) * progress
        rest = self._num_steps - self._num_warmup
        progress = min((step - self._num_warmup) / rest, 1.0) if rest > 0 else 1.0
        return self._last + (1 - self._last) / 2 * (1 + math.cos(math.pi * progress))
