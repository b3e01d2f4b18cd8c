"""``metrics.json`` of a run: every evaluation once, whatever its period, and after a resume too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from detectron2.engine import hooks
from detectron2.utils.events import EventWriter


class WrittenEvaluation(hooks.EvalHook):
    """detectron2's ``EvalHook``, whose figures are written down at once.

    Writers take the latest value of each scalar when their period of 20 iterations ends, so the
    evaluations before the last one would be lost.

    Args:
        period: iterations from one evaluation to the next; 0: one at the end.
        evaluate: returns the figures.
        writers: those that shall have every evaluation; called after each.
    """

    def __init__(
        self, period: int, evaluate: Callable[[], dict], writers: Callable[[], list[EventWriter]]
    ):
        super().__init__(period, evaluate)
        self._writers = writers

    def _do_eval(self) -> None:
        super()._do_eval()
        for writer in self._writers():
            writer.write()


def forget_iterations(path: str | Path, start: int) -> None:
    """Take the lines of iterations that a resumed run repeats out of a file of metrics.

    Args:
        path: of ``metrics.json``, one object per line in the order of writing. A last line that a
            killed run has not finished is taken out as well.
        start: the first iteration that is computed again.
    """
    path = Path(path)
    if not path.is_file():
        return
    kept = 0
    with open(path, "rb+") as stream:
        for line in stream:
            try:
                iteration = json.loads(line)["iteration"]
            except (ValueError, KeyError, TypeError):
                break
            if iteration >= start:
                break
            kept += len(line)
        stream.truncate(kept)
