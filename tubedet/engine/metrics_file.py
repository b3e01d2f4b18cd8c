"""``metrics.json`` of a run: every evaluation once, whatever its period, and after a resume too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from detectron2.engine import hooks
from detectron2.utils.events import EventWriter

METRICS = "metrics.json"


class WrittenEvaluation(hooks.EvalHook):
    """detectron2's ``EvalHook``, whose figures are written down at once.

    Writers take the latest value of each scalar when their period of 20 iterations ends, so the
    evaluations before the last one would be lost.

    Args:
        period: iterations from one evaluation to the next; 0: one at the end.
        evaluate: returns the figures.
        writers: those that shall have every evaluation; called after each.
        is_whole: whether the evaluation at the end would repeat one after the last iteration, as
            when a training ends early. Otherwise it is of more key frames.
    """

    def __init__(
        self,
        period: int,
        evaluate: Callable[[], dict],
        writers: Callable[[], list[EventWriter]],
        is_whole: bool = False,
    ):
        super().__init__(period, evaluate)
        self._writers = writers
        self._is_whole = is_whole
        self._evaluated_after = -1  # this iteration

    def _do_eval(self) -> None:
        super()._do_eval()
        self._evaluated_after = self.trainer.iter
        for writer in self._writers():
            writer.write()

    def after_train(self) -> None:
        """Evaluate, unless that was just done."""
        if self._is_whole and self._evaluated_after == self.trainer.iter - 1:
            self._eval_after_train = False
        super().after_train()


def forget_iterations(path: str | Path, start: int) -> None:
    """Take the lines of iterations that a resumed run repeats out of a file of metrics.

    Args:
        path: of ``metrics.json``, one object per line. A last line that a killed run has not
            finished is taken out as well; other lines without an iteration stay.
        start: the first iteration that is computed again. The evaluation at the end of a training
            has this number, and stays.
    """
    path = Path(path)
    if not path.is_file():
        return
    with open(path, "rb+") as stream:  # in place: the file is open for writing already
        lines = stream.readlines()
        kept = [line for line in lines if line.endswith(b"\n") and not _is_repeated(line, start)]
        if kept != lines:
            stream.seek(0)
            stream.writelines(kept)
            stream.truncate()


def has_evaluation(path: str | Path, iteration: int) -> bool:
    """Whether a file of metrics has figures of an evaluation.

    Args:
        path: of ``metrics.json``, which may be missing.
        iteration: of the evaluation. The one at the end of a training has ``SOLVER.MAX_ITER``.
    """
    if not Path(path).is_file():
        return False
    with open(path, "rb") as stream:
        return any(_is_evaluation(line, iteration) for line in stream)


def evaluations(path: str | Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Read the evaluations in a file of metrics, in the order of the file.

    Args:
        path: of ``metrics.json``, which may be missing.

    Yields:
        number of the iteration, and the figures by name, such as "frame_ap/mAP@0.5IOU".
    """
    if not Path(path).is_file():
        return
    with open(path, "rb") as stream:
        for line in stream:
            try:
                scalars = json.loads(line)
                iteration = scalars["iteration"]
            except (ValueError, KeyError, TypeError):  # a last line that a kill cut off
                continue
            if figures := {name: value for name, value in scalars.items() if "/" in name}:
                yield iteration, figures


def _is_evaluation(line: bytes, iteration: int) -> bool:
    try:
        scalars = json.loads(line)
        return scalars["iteration"] == iteration and any("/" in name for name in scalars)
    except (ValueError, KeyError, TypeError):
        return False


def _is_repeated(line: bytes, start: int) -> bool:
    try:
        scalars = json.loads(line)
        iteration = scalars["iteration"]
    except (ValueError, KeyError, TypeError):
        return False
    # Figures are called "task/name"; scalars of a training step have no slash.
    is_evaluation_alone = all("/" in name for name in scalars.keys() - {"iteration"})
    return iteration > start or (iteration == start and not is_evaluation_alone)
