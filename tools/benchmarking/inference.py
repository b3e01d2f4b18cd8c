"""Speed and memory of detection, as published, as written and prepared, in the same run."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from detectron2.config import CfgNode
from torch import nn

from .measured_model import MeasuredModel
from .model_arguments import add_model_arguments, model_run
from .model_variants import DETECTION_VARIANTS, build_for_detection, chosen_variants
from .variant_comparison import measure_in_turns, tables

DESCRIPTION = "Detecting in random clips: as published, as written and prepared for inference."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this measurement to the command line."""
    add_model_arguments(parser, tuple(DETECTION_VARIANTS))


def run(options: argparse.Namespace) -> dict:
    """Measures.

    Args:
        options: Those of :func:`add_arguments`, ``repeats`` and ``seed``.

    Returns:
        dict: ``cases``, one entry per config and variant, see
        :func:`benchmarking.variant_comparison.measure_in_turns`.

    Raises:
        OSError, KeyError, ValueError: A config or its weights cannot be used.
        MeasurementError: A model failed.
    """
    shape = {"clip_size": options.clip_size, "batch_size": options.batch_size}
    shape["clips"] = options.clips
    chosen = chosen_variants(DETECTION_VARIANTS, options.variant, options.device)
    runs = [
        [
            model_run(options, config, variant, opts=opts, **shape)
            for variant, opts in chosen.items()
        ]
        for config in options.config_file
    ]
    turns = {"repeats": options.repeats, "warmup": options.warmup, "threads": options.threads}
    return {
        "cases": [case for group in runs for case in measure_in_turns(Detection, group, **turns)]
    }


def table(result: dict) -> str:
    """Lay the result of :func:`run` out as text."""
    return tables(result["cases"])


class Detection(MeasuredModel):
    """A model in evaluation mode."""

    def build(self, cfg: CfgNode, variant: str) -> nn.Module:
        """See :func:`build_for_detection`; the run's opts hold the keys of the variant."""
        # The counter of operations stumbles over parameters with a gradient where none is recorded.
        return build_for_detection(cfg, variant, self.amp_dtype).requires_grad_(False)

    def phases(self) -> dict[str, Callable[[], None]]:
        """Only "forward"."""
        return {"forward": self._forward}

    @torch.inference_mode()
    def _forward(self) -> None:
        with self.autocast():
            self.model(self.batch)
