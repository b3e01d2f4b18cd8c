#!/usr/bin/env python
"""Print the table of docs/zoo.md: what every config builds and costs.

    python tools/model_zoo.py
    python tools/model_zoo.py --configs configs/AVA/TubeR_CSN50_AVA21.yaml

Rows are printed as they come; counting the operations of a config takes from seconds to minutes.
Floating-point operations are those of one clip of the test size, in eager mode on the CPU, counted
by PyTorch; a multiply-add counts as two. Attention counts, which in a ViT is a third of them.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import tubedet  # noqa: F401  (before detectron2, whose import-time notices it silences)

# isort: split
import torch
from benchmarking.random_clips import random_batch
from detectron2.modeling import build_model
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

from tubedet.cli.running import CommandParser, run_cli
from tubedet.engine import load_config
from tubedet.errors import UserError

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
    summary, _, details = __doc__.partition("\n\n")
    parser = CommandParser(
        description=summary,
        epilog=details,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--configs",
        nargs="+",
        type=Path,
        metavar="YAML|DIR",
        help=f"config files, or folders of them (default: {', '.join(FOLDERS)} of configs)",
    )
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """Print the table.

    Args:
        args: of :func:`parse_arguments`.

    Returns:
        exit status.

    Raises:
        UserError: if there is no such config, or it cannot be built.
    """
    logging.getLogger("detectron2").setLevel(logging.WARNING)
    given = args.configs or [ROOT / "configs" / name for name in FOLDERS]
    paths = [path for place in given for path in _configs_of(place)]
    widths = (max(len(_name(path)) for path in paths) + 2, 18, 10, 14, 7)
    headers = ("config", "architecture", "clip", "M parameters", "GFLOP")
    _print_row(headers, widths)
    _print_row([":" + "-" * (width - 1) for width in widths[:3]] + ["-" * 13 + ":", "-" * 6 + ":"])
    for path in paths:
        *texts, parameters, gflop = describe(path)
        _print_row([*texts, f"{parameters:.1f}", f"{gflop:.0f}"], widths)
    return 0


def _configs_of(path: Path) -> list[Path]:
    """Return the config, or those of a folder."""
    if not path.is_dir():
        return [path]
    found = [x for x in sorted(path.glob("*.yaml")) if not x.name.startswith("Base-")]
    if not found:
        raise UserError(f"--configs {path}: the folder holds no config")
    return found


def _name(path: Path) -> str:
    folder = ROOT / "configs"
    path = path.resolve()
    inside = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    return inside.with_suffix("").as_posix()


def _print_row(cells: Sequence[str], widths: Sequence[int] = (0,) * 5) -> None:
    """Print a row of a table in Markdown; numbers, the last two, are on the right."""
    texts = [c.ljust(w) if i < 3 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]
    print(f"| {' | '.join(texts)} |", flush=True)


def describe(path: Path) -> tuple:
    """One row: name, architecture, T x H x W, millions of parameters, 1e9 operations per clip."""
    cfg = load_config(str(path), ["MODEL.DEVICE", "cpu"])
    model = build_model(cfg).eval()
    height = cfg.INPUT.MIN_SIZE_TEST
    size = (cfg.INPUT.CLIP.NUM_FRAMES, height, round(height * ASPECT_RATIO))
    parameters = sum(p.numel() for p in model.parameters())
    flops = count_flops(model, size)
    clip = "x".join(map(str, size))
    return f"`{_name(path)}`", cfg.MODEL.META_ARCHITECTURE, clip, parameters / 1e6, flops / 1e9


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
