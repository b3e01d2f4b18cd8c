"""Cost against the size of the clip, the batch and the video, and the number of processes."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import torch
from detectron2.utils.env import seed_all_rng
from tabulate import tabulate

from tubedet.inference import VideoActionDetector

from .fresh_process import FreshProcess
from .inference import Detection
from .measured_model import ModelRun
from .measurement import summary
from .media import write_film
from .memory import PeakMemory
from .model_arguments import add_run_arguments, clip_width, model_run, positive
from .model_variants import TRAINING_VARIANTS
from .process_scaling import TrainingInProcesses
from .scaling_figure import draw_scaling
from .timing import timed
from .training import Training

DESCRIPTION = (
    "Detecting in longer, larger and more clips, and training in more processes: nothing may grow "
    "faster than the work."
)
_VIDEO_AXIS = "key frames of a video"
_PROCESS_AXIS = "processes that train"
_FPS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this measurement to the command line."""
    parser.add_argument("--config-file", required=True, metavar="X", help="config to measure")
    for name, values, of_what in (
        ("--frames", [8, 16, 32], "of a clip"),
        ("--short-sides", [128, 192, 256], "of a clip, pixels; it is 4:3"),
        ("--batch-sizes", [1, 2, 4], "clips of a run"),
        ("--key-frames", [4, 8, 16], "of a video, one per second"),
        ("--processes", [1, 2], "that train on a clip each; on GPUs as many as there are"),
    ):
        parser.add_argument(name, nargs="+", type=positive, default=values, help=of_what)
    parser.add_argument("--picture", type=Path, help="where to draw the growth, png or svg")
    add_run_arguments(parser)


def run(options: argparse.Namespace) -> dict:
    """Measure each point in a fresh process, the points of an axis in turns.

    What is not varied has the size of the config's evaluation.

    Args:
        options: Those of :func:`add_arguments`, ``repeats`` and ``seed``.

    Returns:
        dict: ``config`` and ``axes``, by name ``points`` and ``growth``. Points are ordered by
        size: ``value``, ``gflop``, ``wall_s`` and ``cpu_s`` (see
        :func:`benchmarking.measurement.summary`), ``peak_growth_mb``, and ``time``, which
        of the two times counts: CPU time, but on a GPU and of processes wall time. Growth tells how
        many times the last point is the first: ``work`` (GFLOP), ``time`` (of the fastest run,
        because other work on the machine only adds to it) and ``memory``.

    Raises:
        OSError, KeyError, ValueError: The config cannot be used, or the picture not be written.
        MeasurementError: The model failed.
    """
    if options.picture and not options.picture.parent.is_dir():
        raise FileNotFoundError(f"--picture: there is no folder {options.picture.parent}")
    base = model_run(options, options.config_file, "prepared")
    on_cpu = base.load_config().MODEL.DEVICE == "cpu"
    num_processes = sorted(
        number for number in options.processes if on_cpu or number <= torch.cuda.device_count()
    )
    num_frames, height, width = base.clip_size
    runs = {
        "frames": {n: replace(base, clip_size=(n, height, width)) for n in options.frames},
        "short side": {
            n: replace(base, clip_size=(num_frames, n, clip_width(n))) for n in options.short_sides
        },
        "clips of a batch": {n: replace(base, batch_size=n) for n in options.batch_sizes},
    }
    axes = {
        name: _points_in_turns(options, Detection, {value: (run,) for value, run in values.items()})
        for name, values in runs.items()
    }
    axes[_VIDEO_AXIS] = _video_points(options, base)
    if num_processes:
        axes[_PROCESS_AXIS] = _process_points(options, num_processes, on_cpu)
    result = {
        "config": Path(options.config_file).stem,
        "axes": {
            name: {"points": points, "growth": _growth(points)} for name, points in axes.items()
        },
    }
    if options.picture:
        draw_scaling(result, options.picture)
    return result


def table(result: dict) -> str:
    """Lay the result of :func:`run` out as text."""
    rows, growths = [], []
    for name, axis in result["axes"].items():
        for point in axis["points"]:
            row = [name, point["value"], f"{point['gflop']:.4g}"]
            row += [f"{point[kind]['min']:.3g}" for kind in ("wall_s", "cpu_s")]
            rows.append([*row, f"{point['peak_growth_mb']:.0f}"])
        growths.append([name, *(f"{times:.2f}" for times in axis["growth"].values())])
    points = tabulate(
        rows,
        ("axis", "value", "GFLOP", "s, fastest", "CPU s, fastest", "peak growth, MB"),
        tablefmt="pipe",
        disable_numparse=True,
    )
    growth = tabulate(
        growths,
        ("from first to last, times", "work", "time", "memory"),
        tablefmt="pipe",
        disable_numparse=True,
    )
    return f"{result['config']}\n\n{points}\n\n{growth}"


class VideoDetection:
    """Detection in a video of which every second has a key frame; to be made in a fresh process.

    Args:
        run: The model; its variant and batch size are those of :class:`VideoActionDetector`.
        video: A file.
        gflop_per_clip: What the model computes for each key frame.
    """

    def __init__(self, run: ModelRun, video: str, gflop_per_clip: float):
        cfg = run.load_config()
        self._device = torch.device(cfg.MODEL.DEVICE)
        self._video = video
        self._gflop_per_clip = gflop_per_clip
        seed_all_rng(run.seed)
        self._detector = VideoActionDetector(cfg, amp=run.amp, compile=run.compiled)
        self._memory = PeakMemory(self._device)

    def measure(self) -> dict:
        """Detect in the whole video; ``phases`` as in :meth:`MeasuredModel.measure`."""
        with timed(self._device) as timing:
            self._num_results = sum(1 for _ in self._detector(self._video, every=1.0))
        return {"phases": {"forward": asdict(timing)}}

    def totals(self) -> dict:
        """``peak_growth_mb`` and ``gflop`` of a run as in :meth:`MeasuredModel.totals`."""
        return {
            "peak_growth_mb": self._memory.growth_mb(),
            "gflop": {"run": self._gflop_per_clip * self._num_results},
        }


def _points_in_turns(options: argparse.Namespace, build: type, cases: dict[int, tuple]) -> list:
    """Measure every size; sizes take turns, so that all see the machine's slow moments.

    Args:
        build: what is made in a fresh process of its own for each size.
        cases: the arguments of ``build`` by size.
    """
    with contextlib.ExitStack() as stack:
        processes = {
            value: stack.enter_context(FreshProcess(build, *cases[value], threads=options.threads))
            for value in sorted(cases)
        }
        times: dict[int, list[dict]] = {value: [] for value in processes}
        for turn in range(options.warmup + options.repeats):
            for value, process in processes.items():
                time = process.call("measure")["phases"]["forward"]
                if turn >= options.warmup:
                    times[value].append(time)
        totals = {value: process.call("totals") for value, process in processes.items()}
    return [
        {
            "value": value,
            "gflop": totals[value]["gflop"]["run"],
            "wall_s": summary([time["wall_s"] for time in times[value]]),
            "cpu_s": summary([time["cpu_s"] for time in times[value]]),
            **_memory_and_time(totals[value]["peak_growth_mb"]),
        }
        for value in processes
    ]


def _memory_and_time(memory: dict) -> dict:
    if memory["cuda"] is None:
        return {"peak_growth_mb": memory["process"], "time": "cpu_s"}
    return {"peak_growth_mb": memory["cuda"], "time": "wall_s"}


def _video_points(options: argparse.Namespace, base: ModelRun) -> list[dict]:
    with FreshProcess(Detection, base, threads=options.threads) as process:
        gflop_per_clip = process.call("totals")["gflop"]["run"]
    _, height, width = base.clip_size
    with tempfile.TemporaryDirectory() as folder:
        cases = {}
        for value in options.key_frames:
            (Path(folder) / str(value)).mkdir()
            film = write_film(
                Path(folder) / str(value),
                width=width // 2 * 2,  # as H.264 needs it
                height=height // 2 * 2,
                num_frames=_FPS * value,
                gop=2 * _FPS,
                fps=_FPS,
                seed=options.seed,
            )
            cases[value] = (base, str(film.video), gflop_per_clip)
        return _points_in_turns(options, VideoDetection, cases)


def _process_points(
    options: argparse.Namespace, num_processes: list[int], on_cpu: bool
) -> list[dict]:
    """Each process has one clip, so more of them do more work; the cores are what they share."""
    one = model_run(options, options.config_file, "fused", opts=TRAINING_VARIANTS["fused"])
    with FreshProcess(Training, one, threads=options.threads) as process:
        gflop_per_clip = process.call("totals")["gflop"]["run"]
    points = []
    for value in num_processes:
        arguments = (one, value, options.threads, on_cpu)
        with FreshProcess(TrainingInProcesses, *arguments) as process:
            figures = process.call("measure", options.warmup, options.repeats)
        points.append(
            {
                "value": value,
                "gflop": value * gflop_per_clip,
                "wall_s": summary([value / figures["clips_per_second"]]),
                "cpu_s": summary([value * figures["cpu_s_per_clip"]]),
                "peak_growth_mb": figures["peak_growth_mb"],
                "time": "wall_s",
            }
        )
    return points


def _growth(points: list[dict]) -> dict:
    """How many times the last point is the first."""
    first, last = points[0], points[-1]
    kind = first["time"]
    return {
        "work": last["gflop"] / first["gflop"],
        "time": last[kind]["min"] / first[kind]["min"],
        "memory": last["peak_growth_mb"] / first["peak_growth_mb"],
    }
