"""Time and memory of the AVA evaluation, on files as large as those of the validation set."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from tabulate import tabulate

from tubedet.data.annotations.ava_csv import read_ava_csv, read_label_map
from tubedet.data.datasets.builtin import LABEL_MAPS
from tubedet.evaluation.ava_protocol import AVA_PROTOCOLS, evaluate_ava, get_protocol

from .fresh_process import FreshProcess
from .measurement import summary
from .memory import PeakMemory
from .model_arguments import positive
from .synthetic_annotations import write_annotations
from .timing import timed

DESCRIPTION = "frame-mAP of drawn predictions against a drawn ground truth, on one core."
PHASES = ("read ground truth", "read predictions", "evaluate")
_LABEL_MAP = Path(LABEL_MAPS, "ava_action_list_v2.1_for_activitynet_2018.pbtxt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this measurement to the command line."""
    parser.add_argument("--rows", type=positive, default=1_290_000, help="of the predictions")
    parser.add_argument("--protocol", choices=AVA_PROTOCOLS, default="official")


def run(options: argparse.Namespace) -> dict:
    """Measure, each repetition in a fresh process.

    Args:
        options: Those of :func:`add_arguments`, ``repeats`` and ``seed``.

    Returns:
        dict: ``rows`` of the two files; ``phases``, by name ``wall_s`` and ``cpu_s`` (see
        :func:`benchmarking.measurement.summary`) of ``PHASES`` and "total";
        ``peak_growth_mb``, the largest over what the process holds before it reads; ``mean_ap`` in
        [0, 1] and ``num_detections``, which tell a change of the result.

    Raises:
        OSError: The temporary folder is full.
        MeasurementError: The evaluation failed.
    """
    passes = []
    with tempfile.TemporaryDirectory() as folder:
        paths = write_annotations(
            Path(folder), _LABEL_MAP, num_predictions=options.rows, seed=options.seed
        )
        for _ in range(options.repeats):
            with FreshProcess(Evaluation, *map(str, paths), options.protocol) as process:
                passes.append(process.call("measure"))
    return {
        "rows": passes[0]["rows"],
        "phases": {
            name: {
                kind: summary([one["phases"][name][kind] for one in passes])
                for kind in ("wall_s", "cpu_s")
            }
            for name in passes[0]["phases"]
        },
        "peak_growth_mb": max(one["peak_growth_mb"] for one in passes),
        "mean_ap": passes[0]["mean_ap"],
        "num_detections": passes[0]["num_detections"],
    }


def table(result: dict) -> str:
    """Lay the result of :func:`run` out as text."""
    rows = []
    for name, times in result["phases"].items():
        wall = times["wall_s"]
        spread = f"{wall['median']:.3g} ({wall['min']:.3g}-{wall['max']:.3g})"
        rows.append((name, spread, f"{times['cpu_s']['median']:.3g}"))
    headers = ("phase", "s, median (spread)", "CPU s")
    counts = result["rows"]
    return (
        f"{counts['groundtruth']:,} rows of ground truth, {counts['predictions']:,} of predictions,"
        f" frame-mAP@0.5IOU {100 * result['mean_ap']:.2f} %;"
        f" peak growth {result['peak_growth_mb']:.0f} MB\n"
        + tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)
    )


class Evaluation:
    """What an evaluation of two files does, in phases.

    Args:
        groundtruth, predictions: csv files.
        protocol: Key of ``AVA_PROTOCOLS``.
    """

    def __init__(self, groundtruth: str, predictions: str, protocol: str):
        self._paths = groundtruth, predictions
        self._protocol = protocol
        self._memory = PeakMemory(torch.device("cpu"))

    def measure(self) -> dict:
        """Read and evaluate once; return the figures of this pass, see :func:`run`."""
        device = torch.device("cpu")
        ava_kinetics = get_protocol(self._protocol).ava_kinetics
        tables, times = [], []
        for path in self._paths:
            with timed(device) as timing:
                tables.append(read_ava_csv(path, ava_kinetics=ava_kinetics))
            times.append(timing)
        with timed(device) as timing:
            label_map = read_label_map(_LABEL_MAP)
            result = evaluate_ava(*tables, label_map, protocol=self._protocol)
        times.append(timing)
        phases = {name: asdict(timing) for name, timing in zip(PHASES, times)}
        phases["total"] = {
            kind: sum(phase[kind] for phase in phases.values()) for kind in ("wall_s", "cpu_s")
        }
        return {
            "rows": dict(zip(("groundtruth", "predictions"), map(len, tables))),
            "phases": phases,
            "peak_growth_mb": self._memory.growth_mb()["process"],
            "mean_ap": result.mean_ap,
            "num_detections": result.num_detections,
        }
