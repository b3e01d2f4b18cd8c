#!/usr/bin/env python
"""Train every architecture on the toy data set and print one table.

    python tools/compare_on_toy.py --output output/toy_table

Each row is one run of tools/train_net.py with a config of configs/quick_schedules. Rows that are
already in OUTPUT are not made again; delete the folder of a row to repeat it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from model_zoo import count_flops
from tabulate import tabulate

from tubedet import load_model
from tubedet.engine import load_config

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs" / "quick_schedules"
HEADERS = ("config", "mAP@0.5", "minutes", "parameters", "GFLOP per clip")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        argparse.Namespace: the options.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("output/toy_table"))
    parser.add_argument(
        "--configs", nargs="+", type=Path, help="default: all *_toy.yaml of configs/quick_schedules"
    )
    return parser.parse_args(arguments)


def main() -> None:
    args = parse_arguments()
    # One GPU, or two CPU processes, which are faster than one with two threads.
    num_processes = 1 if torch.cuda.is_available() or os.cpu_count() == 1 else 2
    rows = []
    for config in args.configs or sorted(CONFIGS.glob("*_toy.yaml")):
        row_file = args.output / config.stem / "row.json"
        if not row_file.exists():
            row_file.parent.mkdir(parents=True, exist_ok=True)
            row = measure(config, row_file.parent, num_processes)
            row_file.write_text(json.dumps(row))
        row = json.loads(row_file.read_text())
        rows.append([row[header] for header in HEADERS])
    table = tabulate(rows, HEADERS, tablefmt="pipe", floatfmt=("", ".3f", ".1f", ",", ".2f"))
    print(f"\n{table}")


def measure(config: Path, output: Path, num_processes: int) -> dict:
    """Train and evaluate one config; a row of the table.

    Args:
        config: its first test data set is evaluated.
        output: folder of the run.
        num_processes: for ``tools/train_net.py --num-gpus``.

    Raises:
        subprocess.CalledProcessError: if the run fails.
    """
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / "tools" / "train_net.py"), "--config-file", str(config)]
    command += ["--num-gpus", str(num_processes), "OUTPUT_DIR", str(output)]
    subprocess.run(command, check=True)
    minutes = (time.perf_counter() - start) / 60

    cfg = load_config(str(config), ["MODEL.DEVICE", "cpu"])
    results = output / "inference" / f"{cfg.DATASETS.TEST[0]}_results.json"
    model = load_model(cfg)
    side = cfg.INPUT.MIN_SIZE_TEST
    return {
        "config": config.stem,
        "mAP@0.5": json.loads(results.read_text())["mAP@0.5IOU"],
        "minutes": minutes,
        "parameters": sum(p.numel() for p in model.parameters()),
        "GFLOP per clip": count_flops(model, (cfg.INPUT.CLIP.NUM_FRAMES, side, side)) / 1e9,
    }


if __name__ == "__main__":
    main()
