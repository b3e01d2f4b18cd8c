"""Training throughput of several processes against that of one; on the CPU over gloo."""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
import time
from pathlib import Path

import torch
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from tabulate import tabulate

from tubedet.engine import launch_processes
from tubedet.engine.evaluation_precision import AMP_DTYPES
from tubedet.engine.optimizer import build_optimizer
from tubedet.engine.step_trainer import StepTrainer, distributed_model

from .fresh_process import FreshProcess
from .measured_model import ModelRun
from .measurement import summary
from .memory import PeakMemory
from .model_arguments import add_model_arguments, model_run, positive
from .model_variants import build_for_training
from .random_clips import random_batch

DESCRIPTION = "Training on random clips in one process and in several, each with its own clips."

_SMALL_NAME = "a small TubeR"
_SMALL = ("MODEL.CSN.DEPTH", 26, "MODEL.CSN.WIDTH_MULTIPLIER", 0.25)
_SMALL += ("MODEL.TUBER.HIDDEN_DIM", 64, "MODEL.TUBER.FEEDFORWARD_DIM", 256)
_SMALL += ("MODEL.TUBER.ENC_LAYERS", 2, "MODEL.TUBER.DEC_LAYERS", 2)
_SMALL += ("INPUT.CLIP.NUM_FRAMES", 16, "INPUT.MIN_SIZE_TEST", 96)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this measurement to the command line."""
    parser.add_argument(
        "--processes", nargs="+", type=positive, default=[1, 2], help="numbers of processes"
    )
    parser.add_argument("--iterations", type=positive, default=5, help="per repetition")
    add_model_arguments(parser, default_config=_SMALL_NAME)


def run(options: argparse.Namespace) -> dict:
    """Measure every number of processes in turns, each time with processes started afresh.

    Args:
        options: Those of :func:`add_arguments`, ``repeats`` and ``seed``. ``batch_size`` and
            ``threads`` are those of each process.

    Returns:
        dict: ``cases``, one per config and number of processes: ``config``, ``processes``,
        ``clips_per_second`` and ``cpu_s_per_clip`` (see
        :func:`benchmarking.measurement.summary`), and ``ratio`` of the median clips per
        second to those of the first number.

    Raises:
        OSError, KeyError, ValueError: A config cannot be used.
        MeasurementError: The training failed.
    """
    shape = {"clip_size": options.clip_size, "batch_size": options.batch_size}
    runs = {
        Path(config).stem: model_run(options, config, "fused", **shape)
        for config in options.config_file or ()
    } or {_SMALL_NAME: model_run(options, "", "fused", opts=_SMALL, **shape)}
    cases = []
    for name, one in runs.items():
        on_cpu = one.load_config().MODEL.DEVICE == "cpu"
        passes: dict[int, list[dict]] = {number: [] for number in options.processes}
        for _ in range(options.repeats):
            for number, figures in passes.items():
                arguments = (one, number, options.threads, on_cpu)
                with FreshProcess(TrainingInProcesses, *arguments) as process:
                    figures.append(process.call("measure", options.warmup, options.iterations))
        speeds = {
            number: summary([figure["clips_per_second"] for figure in figures])
            for number, figures in passes.items()
        }
        first = speeds[options.processes[0]]["median"]
        cases += [
            {
                "config": name,
                "processes": number,
                "clips_per_second": speeds[number],
                "cpu_s_per_clip": summary([figure["cpu_s_per_clip"] for figure in figures]),
                "ratio": speeds[number]["median"] / first,
            }
            for number, figures in passes.items()
        ]
    return {"cases": cases}


def table(result: dict) -> str:
    """Lay the result of :func:`run` out as text."""
    rows = []
    for case in result["cases"]:
        speed = case["clips_per_second"]
        rows.append(
            (
                case["config"],
                case["processes"],
                f"{speed['median']:.3g} ({speed['min']:.3g}-{speed['max']:.3g})",
                f"{case['cpu_s_per_clip']['median']:.3g}",
                f"{case['ratio']:.2f}",
            )
        )
    headers = ("config", "processes", "clips/s, median (spread)", "CPU s per clip", "ratio")
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


class TrainingInProcesses:
    """Starts processes that train together.

    Args:
        run: The model, and the clips of each process.
        num_processes: Their number.
        threads: Of PyTorch in each.
        on_cpu: Whether the model is.
    """

    def __init__(self, run: ModelRun, num_processes: int, threads: int, on_cpu: bool):
        self._device = "cpu" if on_cpu else "cuda"
        self._run = run
        self._num_processes = num_processes
        self._threads = threads

    def measure(self, warmup: int, iterations: int) -> dict[str, float]:
        """Train ``iterations`` times after ``warmup`` ones that are not timed.

        Returns:
            dict[str, float]: ``clips_per_second``, ``cpu_s_per_clip`` and ``peak_growth_mb`` (of
            the GPUs if the model is on them) of all processes together.
        """
        with tempfile.TemporaryDirectory() as folder:
            args = argparse.Namespace(
                num_gpus=self._num_processes,
                num_machines=1,
                machine_rank=0,
                dist_url="auto",
                run=self._run,
                threads=self._threads,
                warmup=warmup,
                iterations=iterations,
                result=Path(folder) / "result.json",
            )
            launch_processes(_train, args, self._device)
            return json.loads(args.result.read_text())


def _train(args: argparse.Namespace) -> None:
    """Train, in each process; the first one writes the figures to ``args.result``."""
    torch.set_num_threads(args.threads)
    run, rank = args.run, comm.get_rank()
    cfg = run.load_config()
    device = torch.device(cfg.MODEL.DEVICE)
    seed_all_rng(run.seed)
    model = build_for_training(cfg, run.variant)
    memory = PeakMemory(device)
    batch = random_batch(
        run.batch_size,
        run.clip_size,
        num_actions=cfg.MODEL.NUM_ACTIONS,
        exclusive=cfg.MODEL.EXCLUSIVE_ACTIONS,
        num_persons=run.num_persons,
        seed=run.seed + rank,
    )
    trainer = StepTrainer(
        distributed_model(model),
        itertools.repeat(batch),
        build_optimizer(cfg, model),
        device_type=device.type,
        amp_dtype=AMP_DTYPES[run.amp] if run.amp else None,
    )
    trainer.train(0, args.warmup)
    comm.synchronize()
    cpu, wall = time.process_time(), time.perf_counter()
    trainer.train(args.warmup, args.warmup + args.iterations)
    comm.synchronize()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    growth = memory.growth_mb()
    figures = comm.gather((cpu, growth["process"] if growth["cuda"] is None else growth["cuda"]))
    if rank == 0:
        num_clips = comm.get_world_size() * args.iterations * run.batch_size
        all_cpu, all_growths = zip(*figures)
        figures = {
            "clips_per_second": num_clips / wall,
            "cpu_s_per_clip": sum(all_cpu) / num_clips,
            "peak_growth_mb": sum(all_growths),
        }
        args.result.write_text(json.dumps(figures))
