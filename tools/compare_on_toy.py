#!/usr/bin/env python
"""Train every architecture on the toy data set, with several seeds, and print one table.

    python tools/compare_on_toy.py --output output/toy_table
    python tools/compare_on_toy.py --configs configs/quick_schedules/TubeR_toy.yaml --seeds 1 2 3 4

Each run is one of tools/train_net.py with a config of configs/quick_schedules. Runs that are
already in OUTPUT are not made again; delete the folder of a run to repeat it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import tubedet  # noqa: F401  (before detectron2, whose import-time notices it silences)

# isort: split
import torch
from detectron2.modeling import build_model
from model_zoo import count_flops
from tabulate import tabulate

from tubedet.cli.running import run_cli
from tubedet.engine import load_config
from tubedet.files.atomic_writing import write_json

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs" / "quick_schedules"
RUN_HEADERS = ("config", "seed", "CPU kernels", "mAP@0.5", "minutes")
HEADERS = ("config", "runs", "mAP@0.5 in %", "lowest", "highest", "minutes", "parameters", "GFLOP")


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
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3], help="default: 1 2 3")
    return parser.parse_args(arguments)


def main(args: argparse.Namespace) -> int:
    """Make the runs that are missing and print all of them, then a row per config.

    Args:
        args: of :func:`parse_arguments`.

    Returns:
        exit status.
    """
    configs = args.configs or sorted(CONFIGS.glob("*_toy.yaml"))
    for config in configs:
        load_config(str(config))
    # One GPU, or two CPU processes, which are faster than one with two threads.
    num_processes = 1 if torch.cuda.is_available() or os.cpu_count() == 1 else 2
    runs, rows = [], []
    for config in configs:
        of_config = [
            finished_run(config, seed, args.output / config.stem / f"seed{seed}", num_processes)
            for seed in args.seeds
        ]
        runs += of_config
        rows.append(summary(config, of_config))
    in_percent = [[100 * v if k == "mAP@0.5" else v for k, v in run.items()] for run in runs]
    headers = [f"{name} in %" if name == "mAP@0.5" else name for name in RUN_HEADERS]
    formats = ("", "", "", ".1f", ".1f")
    print(f"\n{tabulate(in_percent, headers, tablefmt='pipe', floatfmt=formats)}")
    formats = ("", "", ".1f", ".1f", ".1f", ".1f", ",", ".3f")
    print(f"\n{tabulate(rows, HEADERS, tablefmt='pipe', floatfmt=formats, intfmt=',')}")
    return 0


def finished_run(config: Path, seed: int, folder: Path, num_processes: int) -> dict:
    """Return the run of a folder, which is made if it is not there.

    Args:
        config: its first test data set is evaluated.
        seed: ``SEED`` of the run.
        folder: of the run; ``run.json`` in it is what is returned.
        num_processes: for ``tools/train_net.py --num-gpus``.

    Returns:
        a value for each of :data:`RUN_HEADERS`; the mAP is a fraction, as in the file of results.

    Raises:
        subprocess.CalledProcessError: if the run fails.
    """
    result = folder / "run.json"
    if not result.exists():
        start = time.perf_counter()
        command = [sys.executable, str(ROOT / "tools" / "train_net.py")]
        command += ["--config-file", str(config), "--num-gpus", str(num_processes)]
        command.append("--overwrite")  # a run that was interrupted is made again, for its minutes
        subprocess.run([*command, "OUTPUT_DIR", str(folder), "SEED", str(seed)], check=True)
        minutes = (time.perf_counter() - start) / 60
        dataset = load_config(str(config)).DATASETS.TEST[0]
        figures = json.loads((folder / "inference" / f"{dataset}_results.json").read_text())
        kernels = torch.backends.cpu.get_cpu_capability()
        values = (config.stem, seed, kernels, figures["mAP@0.5IOU"], minutes)
        write_json(dict(zip(RUN_HEADERS, values)), result)
    return json.loads(result.read_text())


def summary(config: Path, runs: list[dict]) -> tuple:
    """Return the row of a config: means and extremes over its runs, in the order of HEADERS.

    Args:
        config: of the runs.
        runs: as :func:`finished_run` returned them.
    """
    cfg = load_config(str(config), ["MODEL.DEVICE", "cpu"])
    model = build_model(cfg).eval()
    side = cfg.INPUT.MIN_SIZE_TEST
    precisions = [100 * run["mAP@0.5"] for run in runs]
    return (
        config.stem,
        len(runs),
        sum(precisions) / len(runs),
        min(precisions),
        max(precisions),
        sum(run["minutes"] for run in runs) / len(runs),
        sum(p.numel() for p in model.parameters()),
        count_flops(model, (cfg.INPUT.CLIP.NUM_FRAMES, side, side)) / 1e9,
    )


if __name__ == "__main__":
    options = parse_arguments()
    sys.exit(run_cli(lambda: main(options)))
