"""Speed and memory of training iterations, as written and in the faster or smaller forms."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from detectron2.config import CfgNode
from torch import nn

from tubedet.engine.optimizer import build_optimizer
from tubedet.modeling.half_weights import HalfWeights

from .measured_model import MeasuredModel
from .model_arguments import add_model_arguments, model_run
from .model_variants import TRAINING_VARIANTS, build_for_training, chosen_variants
from .variant_comparison import measure_in_turns, tables

DESCRIPTION = "Losses and gradients of random clips: module by module, fused, and with checkpoints."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this measurement to the command line."""
    parser.add_argument("--optimizer-step", action="store_true", help="update the weights too")
    add_model_arguments(parser, tuple(TRAINING_VARIANTS))


def run(options: argparse.Namespace) -> dict:
    """Measures.

    Args:
        options: Those of :func:`add_arguments`, ``repeats`` and ``seed``.

    Returns:
        dict: ``cases``, one entry per config and variant, see
        :func:`benchmarking.variant_comparison.measure_in_turns`. Memory is what the first
        and later iterations need beyond the model: activations, gradients, the optimiser's state.

    Raises:
        OSError, KeyError, ValueError: A config cannot be used.
        MeasurementError: A model failed.
    """
    shape = {"clip_size": options.clip_size, "batch_size": options.batch_size}
    shape["clips"] = options.clips
    chosen = chosen_variants(TRAINING_VARIANTS, options.variant, options.device)
    runs = [
        [
            model_run(options, config, variant, opts=opts, **shape)
            for variant, opts in chosen.items()
        ]
        for config in options.config_file
    ]
    measured = TrainingWithStep if options.optimizer_step else Training
    turns = {"repeats": options.repeats, "warmup": options.warmup, "threads": options.threads}
    return {
        "cases": [case for group in runs for case in measure_in_turns(measured, group, **turns)]
    }


def table(result: dict) -> str:
    """Lay the result of :func:`run` out as text."""
    return tables(result["cases"])


class Training(MeasuredModel):
    """A model in training mode; the gradients of the run before are freed first, as in training."""

    def build(self, cfg: CfgNode, variant: str) -> nn.Module:
        """See :func:`build_for_training`; the run's opts hold the keys of the variant."""
        self._cfg = cfg
        model = build_for_training(cfg, variant)
        # Trainings cast all weights at once; published code leaves that to autocast.
        casts_at_once = self.amp_dtype is not None and variant != "straightforward"
        self._half_weights = HalfWeights(model) if casts_at_once else None
        return model

    def phases(self) -> dict[str, Callable[[], None]]:
        """Return "forward" and "backward"."""
        return {"forward": self._forward, "backward": self._backward}

    def _forward(self) -> None:
        self.model.zero_grad()
        with self.autocast():
            if self._half_weights is None:
                losses = self.model(self.batch)
            else:
                losses = self._half_weights.call(self.amp_dtype, self.batch)
            self._loss = sum(losses.values())

    def _backward(self) -> None:
        self._loss.backward()
        del self._loss


class TrainingWithStep(Training):
    """The same with an update of the weights by the config's optimiser."""

    def build(self, cfg: CfgNode, variant: str) -> nn.Module:
        """See :class:`Training`; makes the optimiser as well."""
        model = super().build(cfg, variant)
        self._optimizer = build_optimizer(cfg, model)
        return model

    def phases(self) -> dict[str, Callable[[], None]]:
        """Return "forward", "backward" and "step"."""
        return {**super().phases(), "step": self._optimizer.step}
