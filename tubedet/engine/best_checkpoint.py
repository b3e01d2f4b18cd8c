"""The best checkpoint of a training, and its end when nothing becomes better."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm

from tubedet.agreement import of_main_process
from tubedet.checkpoint import TubedetCheckpointer
from tubedet.checkpoint.checkpointer import BEST
from tubedet.files.atomic_writing import write_json

from .metrics_file import METRICS, evaluations

logger = logging.getLogger(__name__)

RECORD = f"{BEST}.json"


class TrainingEnds(BaseException):
    """Ends the loop of detectron2's trainer early.

    No ``Exception``, for that loop logs each of those as a fault of the program.
    """


def is_loss(metric: str) -> bool:
    """Whether less of a figure is better.

    Args:
        metric: name of the figure, such as "frame_ap/mAP@0.5IOU" or "validation/total_loss".
    """
    return "loss" in metric.rpartition("/")[2]


class BestWeights(hooks.BestCheckpointer):
    """detectron2's ``BestCheckpointer``, which goes on when a training is resumed.

    Writes ``model_best.pth`` after each evaluation whose figure is better than all before it, and
    ``model_best.json``: which figure that was, and of which iteration. A moving average of the
    weights, which is what was evaluated then, is in the file like in any checkpoint.

    Register it behind the evaluation, in all processes.

    Args:
        period: iterations from one evaluation to the next.
        checkpointer: writes the file.
        metric: name of the figure; the smallest counts of a loss, the largest of others.
        patience: evaluations without a better figure after which :attr:`is_exhausted`; 0: never.
        sampled: evaluations during the training take some of the key frames. The one at the end,
            of all key frames, is not compared with them.
    """

    @classmethod
    def of_config(cls, cfg: CfgNode, checkpointer: TubedetCheckpointer) -> BestWeights | None:
        """Return the hook of a run; None without ``TEST.BEST_METRIC``.

        Args:
            cfg: the config.
            checkpointer: writes the file.
        """
        if not cfg.TEST.BEST_METRIC:
            return None
        return cls(
            cfg.TEST.EVAL_PERIOD,
            checkpointer,
            cfg.TEST.BEST_METRIC,
            patience=cfg.TEST.PATIENCE,
            sampled=cfg.TEST.MAX_KEY_FRAMES > 0,
        )

    def __init__(
        self,
        period: int,
        checkpointer: TubedetCheckpointer,
        metric: str,
        *,
        patience: int = 0,
        sampled: bool = False,
    ):
        mode = "min" if is_loss(metric) else "max"
        super().__init__(period, checkpointer, metric, mode, BEST)
        self._folder = Path(checkpointer.save_dir)
        self.patience = patience
        self.sampled = sampled
        self.num_worse = 0

    @property
    def is_exhausted(self) -> bool:
        """Whether the last evaluations were no better; the same in all processes."""
        return 0 < self.patience <= self.num_worse

    def resume(self) -> None:
        """Go on from what the run before left in its folder; all processes call it together."""
        if comm.is_main_process():
            record = read_record(self._folder)
            if record.get("metric") == self._val_metric:
                self.best_metric, self.best_iter = record["value"], record["iteration"]
                later = [
                    iteration
                    for iteration, figures in evaluations(self._folder / METRICS)
                    if iteration > self.best_iter and self._val_metric in figures
                ]
                if self.sampled:  # without the one at the end
                    later = [n for n in later if (n + 1) % self._period == 0]
                self.num_worse = len(later)
        self.num_worse = of_main_process(self.num_worse)

    def after_train(self) -> None:
        """Look at the evaluation at the end, if there is one of the same key frames."""
        if not self.sampled and not self.is_exhausted:
            super().after_train()

    def _is_evaluated(self) -> bool:
        latest = self.trainer.storage.latest().get(self._val_metric)
        return latest is not None and latest[1] == self.trainer.storage.iter

    def _best_checking(self) -> None:
        if comm.is_main_process():
            if self._is_evaluated():
                before = self.best_iter
                super()._best_checking()
                if self.best_iter == before:
                    self.num_worse += 1
                else:
                    self.num_worse = 0
                    record = {"metric": self._val_metric, "value": self.best_metric}
                    write_json({**record, "iteration": self.best_iter}, self._folder / RECORD)
            else:
                self._warn_of_missing_figure()
        self.num_worse = of_main_process(self.num_worse)

    def _warn_of_missing_figure(self) -> None:
        latest = self.trainer.storage.latest().items()
        now = self.trainer.storage.iter
        known = [name for name, (_, iteration) in latest if "/" in name and iteration == now]
        has = f"has {', '.join(known[:4])}" if known else "has no figures"
        more = f" and {len(known) - 4} more" if len(known) > 4 else ""
        logger.warning(
            f"TEST.BEST_METRIC is {self._val_metric!r}, but this evaluation {has}{more}: "
            "model_best.pth stays as it is"
        )


class EarlyStopping(HookBase):
    """End a training whose evaluations do not become better any more.

    ``model_final.pth`` is written then, as at the end of any training. Register it as the last of
    all hooks, in all processes.

    Args:
        best: knows the evaluations.
    """

    def __init__(self, best: BestWeights):
        self._best = best

    def after_step(self) -> None:
        """Raise :class:`TrainingEnds` when patience is at its end.

        The trainer is left as after its last iteration, so that what comes at the end of a
        training comes now.
        """
        trainer = self.trainer
        if not self._best.is_exhausted or trainer.iter + 1 >= trainer.max_iter:
            return
        logger.info(
            f"{self._best.num_worse} evaluations without a better figure than that of iteration "
            f"{self._best.best_iter}: the training ends (TEST.PATIENCE)"
        )
        trainer.checkpointer.save("model_final", iteration=trainer.iter)
        trainer.iter += 1
        trainer.max_iter = trainer.iter
        raise TrainingEnds


def read_record(folder: str | Path) -> dict:
    """Return "metric", "value" and "iteration" of the best evaluation; empty if there is none.

    Args:
        folder: ``OUTPUT_DIR`` of the training.
    """
    path = Path(folder, RECORD)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
