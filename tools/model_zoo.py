#!/usr/bin/env python
"""Print the table of docs/zoo.md: what every config builds and costs.

    python tools/model_zoo.py

Floating-point operations are those of one clip of the test size, in eager mode on the CPU, counted
by PyTorch; a multiply-add counts as two. Attention counts, which in a ViT is a third of them.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import tubedet  # noqa: F401  (before detectron2, whose import-time notices it silences)

# isort: split
import torch
from benchmarking.random_clips import random_batch
from detectron2.modeling import build_model
from tabulate import tabulate
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

from tubedet.cli.running import run_cli
from tubedet.engine import load_config

ROOT = Path(__file__).parents[1]
FOLDERS = ("AVA", "JHMDB", "UCF101-24")
# AVA's films are mostly a little wider than 4:3.
ASPECT_RATIO = 4 / 3
# PyTorch counts attention on GPUs only.
_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        argparse.Namespace: the options.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", nargs="+", type=Path, help="default: all of " + str(FOLDERS))
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """Print the table.

    Args:
        args: of :func:`parse_arguments`.

    Returns:
        exit status.
    """
    logging.getLogger("detectron2").setLevel(logging.WARNING)
    paths = args.configs or [
        path
        for name in FOLDERS
        for path in sorted((ROOT / "configs" / name).glob("*.yaml"))
        if not path.name.startswith("Base-")
    ]
    rows = [describe(path) for path in paths]
    headers = ("config", "architecture", "clip", "M parameters", "GFLOP")
    print(tabulate(rows, headers, tablefmt="pipe", floatfmt=("", "", "", ".1f", ".0f")))
    return 0


def describe(path: Path) -> tuple:
    """One row: name, architecture, T x H x W, millions of parameters, 1e9 operations per clip."""
    cfg = load_config(str(path), ["MODEL.DEVICE", "cpu"])
    model = build_model(cfg).eval()
    height = cfg.INPUT.MIN_SIZE_TEST
    size = (cfg.INPUT.CLIP.NUM_FRAMES, height, round(height * ASPECT_RATIO))
    parameters = sum(p.numel() for p in model.parameters())
    flops = count_flops(model, size)
    name = path.resolve().relative_to(ROOT / "configs").with_suffix("").as_posix()
    clip = "x".join(map(str, size))
    return f"`{name}`", cfg.MODEL.META_ARCHITECTURE, clip, parameters / 1e6, flops / 1e9


def count_flops(model: torch.nn.Module, size: tuple[int, int, int]) -> int:
    """Operations for one clip of ``size`` (T, H, W), and for one box where boxes are given."""
    # The counter's hooks stumble over parameters that are used as they are.
    model.requires_grad_(False)
    attention = {_CPU_ATTENTION: _attention_flops}
    with FlopCounterMode(display=False, custom_mapping=attention) as counter:
        model(random_batch(1, size, num_actions=1, num_persons=1))
    return counter.get_total_flops()


def _attention_flops(query, key, value, *args, **kwargs) -> int:
    """Operations of attention between tensors of these shapes, (B, heads, N, channels)."""
    return sdpa_flop(query, key, value)


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_cli(lambda: main(options)))
