"""What a run would refuse in its data after hours, found before it starts."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.data.annotations.ava_csv import AVATable
from tubedet.data.datasets.ava import check_files
from tubedet.data.datasets.custom import check_actions, check_pixel_boxes
from tubedet.data.validation.annotation_checks import shared_videos
from tubedet.data.validation.checked_dataset import CheckedDataset
from tubedet.data.validation.dataset_checks import check_dataset
from tubedet.errors import UserError
from tubedet.evaluation.key_frame_evaluator import KeyFrameEvaluator

from .config_checks import number_of, queries_key
from .data_checks import warn_of_crowds

logger = logging.getLogger(__name__)

BuildEvaluator = Callable[[CfgNode, str], KeyFrameEvaluator]


def check_data_sets(cfg: CfgNode, *, eval_only: bool, build_evaluator: BuildEvaluator) -> None:
    """Check the data sets of a run as ``tubedet validate`` does, and build their evaluators.

    Args:
        cfg: the config, which :func:`.check_run_config` has found to be good.
        eval_only: nothing is trained.
        build_evaluator: makes the evaluator of a data set.

    Raises:
        UserError: if a data set cannot be trained on or evaluated; the message names the file and
            line at fault.
        OSError: if a file is missing.
    """
    trained = () if eval_only else cfg.DATASETS.TRAIN
    filters_empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    checks = {}
    for name in dict.fromkeys([*trained, *cfg.DATASETS.TEST]):
        check_actions(cfg, name)
        checks[name] = _checked(name)
        tested = name in cfg.DATASETS.TEST
        _refuse_errors(checks[name], may_be_empty=not (tested or filters_empty))
        custom = MetadataCatalog.get(name).get("custom_dataset", None)
        if custom is not None and custom.boxes == "pixels":
            check_pixel_boxes(custom)
    for name in cfg.DATASETS.TEST:
        rows = build_evaluator(cfg, name).counted_groundtruth()
        if not len(rows):
            raise UserError(
                f"DATASETS.TEST: data set {name!r} has no box of an evaluated action in a key "
                "frame that counts, so no AP is defined; label some, or leave it out"
            )
        if key := queries_key(cfg):
            numbers = persons_per_key_frame(rows)
            warn_of_crowds(numbers, num_queries=number_of(cfg, key), key=key, name=name)
    evaluated = [checks[name] for name in cfg.DATASETS.TEST if name not in trained]
    for name in dict.fromkeys(trained):
        for checked in evaluated:
            for problem in list(shared_videos([checks[name], checked]))[:1]:
                logger.warning(f"{problem.text}: figures of videos that are trained on mislead")


def persons_per_key_frame(rows: AVATable) -> list[int]:
    """Count the persons, which are different boxes, of each key frame that has one.

    Args:
        rows: of the ground truth.
    """
    boxes = np.unique(np.column_stack([rows.video_index, rows.timestamps, rows.boxes]), axis=0)
    return np.unique(boxes[:, :2], axis=0, return_counts=True)[1].tolist()


def _checked(name: str) -> CheckedDataset:
    """Check what can be wrong by hand; the readers of published files stop at faults."""
    metadata = MetadataCatalog.get(name)
    if metadata.get("custom_dataset", None) is not None:
        return check_dataset(name)
    if metadata.get("ava_files", None) is not None:
        check_files(metadata.ava_files, name)
        return check_dataset(name, load=False)  # which takes longer than all checks
    checked = CheckedDataset(name, name)
    if metadata.get("tubes", None) is not None:
        checked.key_frames = DatasetCatalog.get(name)
        checked.first_lines = dict.fromkeys(metadata.tubes())
    return checked


def _refuse_errors(checked: CheckedDataset, *, may_be_empty: bool) -> None:
    errors = [e for e in checked.errors if not (may_be_empty and e.kind == "empty")]
    if errors:
        more = f" (and {len(errors) - 1} more errors)" if len(errors) > 1 else ""
        raise UserError(
            f"{errors[0].text}{more}; 'tubedet validate {checked.name}' lists all errors"
        )
    warnings = [problem for problem in checked.problems if problem.severity == "warning"]
    counts = Counter(problem.kind for problem in warnings)
    for problem in {problem.kind: problem for problem in reversed(warnings)}.values():
        count = counts[problem.kind]
        logger.warning(problem.text + (f" (and {count - 1} more)" if count > 1 else ""))
