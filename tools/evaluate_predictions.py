#!/usr/bin/env python
"""Computes the official frame-mAP@0.5 of an AVA prediction csv."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tubedet.evaluation.ava_protocol import AVA_PROTOCOLS, evaluate_ava_files
from tubedet.evaluation.report import result_table, write_result_json


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line.

    Args:
        arguments: Without the program's name; None: those of the process.

    Returns:
        argparse.Namespace: the options.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="All inputs may be compressed with gzip."
    )
    parser.add_argument("--groundtruth", required=True, type=Path, help="ground-truth csv")
    parser.add_argument("--labelmap", required=True, type=Path, help="pbtxt of evaluated classes")
    parser.add_argument("--exclude", type=Path, help="csv of excluded video_id,timestamp")
    parser.add_argument("--predictions", required=True, type=Path, help="prediction csv")
    parser.add_argument(
        "--protocol",
        default="official",
        choices=AVA_PROTOCOLS,
        help="revision of the official script: official is that of 2019 (default)",
    )
    parser.add_argument("--json", type=Path, help="where to write the figures, as fractions")
    options = parser.parse_args(arguments)
    inputs = (options.groundtruth, options.labelmap, options.exclude, options.predictions)
    if options.json and options.json.resolve() in (path.resolve() for path in inputs if path):
        parser.error(f"--json would overwrite the input {options.json}")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Evaluates, prints the table and writes the json.

    Args:
        arguments: Without the program's name; None: those of the process.

    Returns:
        int: exit status, 2 on input that cannot be evaluated.
    """
    options = parse_arguments(arguments)
    try:
        result = evaluate_ava_files(
            options.groundtruth,
            options.predictions,
            options.labelmap,
            options.exclude,
            options.protocol,
        )
        print(result_table(result))
        if options.json:
            write_result_json(result, options.json)
    except (OSError, ValueError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
