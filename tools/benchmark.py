#!/usr/bin/env python
"""Measure speed and memory.

    python tools/benchmark.py --task data --json data.json

Each task has options of its own; see --task TASK --help.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from pathlib import Path

import tubedet  # noqa: F401  (before detectron2, whose import-time notices it silences)

# isort: split
from benchmarking import (
    data_loading,
    evaluation,
    inference,
    kernels,
    process_scaling,
    scaling,
    training,
)
from benchmarking.measurement import environment
from detectron2.utils.env import seed_all_rng

from tubedet.cli.running import CommandParser, run_cli
from tubedet.data.datasets.input_files import check_output_file
from tubedet.engine import check_started_once
from tubedet.files.atomic_writing import open_atomically

# Name -> module with DESCRIPTION, add_arguments(parser), run(options) -> dict and table(dict).
TASKS = {
    "data": data_loading,
    "evaluation": evaluation,
    "inference": inference,
    "kernels": kernels,
    "processes": process_scaling,
    "scaling": scaling,
    "train": training,
}


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps paragraphs, and names the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False or action.default == []:
            return action.help
        return super()._get_help_string(action)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line: first the task, then what the task adds.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        argparse.Namespace: the options.
    """
    choice = argparse.ArgumentParser(add_help=False)
    choice.add_argument("--task", choices=TASKS)
    task = TASKS.get(choice.parse_known_args(arguments)[0].task)
    summary, _, details = __doc__.partition("\n\n")
    parser = CommandParser(
        description="\n".join(textwrap.wrap(task.DESCRIPTION, 79)) if task else summary,
        epilog=None if task else details,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument("--task", choices=TASKS, required=True, help="what to measure")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions of each measurement")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn")
    parser.add_argument("--json", type=Path, help="where to write figures, options and versions")
    if task:
        task.add_arguments(parser)
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error(f"--repeats must be at least 1, got {options.repeats}")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Measure, print the table and write the json.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        int: exit status, 2 on input that cannot be measured.
    """
    options = parse_arguments(arguments)
    return run_cli(lambda: measure(options))


def measure(options: argparse.Namespace) -> int:
    """Measure what the options name.

    Args:
        options: of :func:`parse_arguments`.

    Returns:
        exit status.

    Raises:
        UserError, OSError: if the input cannot be measured.
    """
    check_started_once()
    if options.json:
        check_output_file(options.json, ())  # not after minutes of measuring
    task = TASKS[options.task]
    seed_all_rng(options.seed)
    versions = environment()
    result = task.run(options)
    print(task.table(result))
    if options.json:
        report = {
            "task": options.task,
            "options": {name: value for name, value in vars(options).items() if name != "json"},
            "environment": versions,
            **result,
        }
        with open_atomically(options.json) as stream:
            json.dump(report, stream, indent=1, default=str)
            stream.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
