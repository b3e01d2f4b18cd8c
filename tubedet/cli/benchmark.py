"""Measure speed and memory; the measurements come with the repository, in tools/benchmarking."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import tubedet
from tubedet.errors import UserError

_PROGRAM = Path(tubedet.__file__).resolve().parents[1] / "tools" / "benchmark.py"


def run(arguments: list[str]) -> int:
    """Run tools/benchmark.py of the clone that is installed.

    Args:
        arguments: without the program's name.

    Returns:
        exit status.

    Raises:
        UserError: if tubedet was not installed from a clone.
    """
    if not _PROGRAM.is_file():
        raise UserError(
            "benchmarks are part of the repository, not of the installed package; clone it, "
            "install it with 'pip install -e .', and run tools/benchmark.py"
        )
    sys.path.insert(0, str(_PROGRAM.parent))
    sys.argv = [str(_PROGRAM), *arguments]
    program = runpy.run_path(str(_PROGRAM))
    return program["main"](arguments)
