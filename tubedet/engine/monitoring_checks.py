"""Config keys that watch a training, checked before it starts."""

from __future__ import annotations

from collections.abc import Sequence

from detectron2.config import CfgNode

from tubedet.errors import UserError

from .evaluation_pictures import MAX_PICTURES
from .experiment_trackers import check_tracker


def check_monitoring(cfg: CfgNode) -> None:
    """Refuse what cannot be watched in a training.

    Args:
        cfg: of the training.

    Raises:
        UserError: if a figure can never be there, early stopping has nothing to go by, a tracker
            cannot be used, or there are too many pictures.
    """
    check_tracker(cfg.TRACKER)
    test = cfg.TEST
    if not 0 <= test.PICTURES <= MAX_PICTURES:
        raise UserError(f"TEST.PICTURES is {test.PICTURES}; give 0 to {MAX_PICTURES}")
    if test.PATIENCE < 0:
        raise UserError(f"TEST.PATIENCE is {test.PATIENCE}; give at least 0 (never)")
    if test.PATIENCE and not (test.BEST_METRIC and test.EVAL_PERIOD):
        missing = "TEST.BEST_METRIC" if test.EVAL_PERIOD else "TEST.EVAL_PERIOD"
        raise UserError(
            f"TEST.PATIENCE counts evaluations without a better figure; set {missing}, too"
        )
    if not test.BEST_METRIC:
        return
    if not cfg.DATASETS.TEST:
        raise UserError(
            f"TEST.BEST_METRIC is {test.BEST_METRIC!r}, but DATASETS.TEST is empty: there are no "
            "evaluations to compare"
        )
    if "/" not in test.BEST_METRIC:
        raise UserError(
            f"TEST.BEST_METRIC is {test.BEST_METRIC!r}; give a figure as metrics.json has it, such "
            "as frame_ap/mAP@0.5IOU"
        )
    _check_name(test.BEST_METRIC, cfg.DATASETS.TEST)
    if "validation" in test.BEST_METRIC.split("/")[:-1] and not test.VALIDATION_LOSS:
        raise UserError(
            f"TEST.BEST_METRIC is {test.BEST_METRIC!r}, which needs TEST.VALIDATION_LOSS True"
        )


def _check_name(metric: str, data_sets: Sequence[str]) -> None:
    """Refuse a name that no evaluation gives, before hours go by."""
    task, _, figure = metric.partition("/")
    if len(data_sets) > 1:
        if task not in data_sets:
            raise UserError(
                f"TEST.BEST_METRIC is {metric!r}; with several data sets a figure begins with one "
                f"of them, such as {data_sets[0]}/{metric}"
            )
        task, _, figure = figure.partition("/")
    # Evaluators of other people name theirs as they like.
    if task.startswith("frame_ap") and not figure.startswith(("mAP@0.5IOU", "AP-")):
        raise UserError(
            f"TEST.BEST_METRIC is {metric!r}; figures of {task} are mAP@0.5IOU and, of a class, "
            "AP-CLASS"
        )
