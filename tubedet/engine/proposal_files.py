"""Person boxes of files for the key frames of data sets, as a config says."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from detectron2.config import CfgNode
from detectron2.utils import comm

from tubedet.data.person_boxes import read_person_boxes
from tubedet.data.person_boxes.proposals import with_proposals
from tubedet.errors import UserError
from tubedet.evaluation.proposal_recall import proposal_recall

logger = logging.getLogger(__name__)


class _Files(NamedTuple):
    part: str
    names: Sequence[str]
    files: Sequence[str]
    images: Sequence[str]
    topk: int


def check_proposal_files(cfg: CfgNode, *, is_train: bool) -> None:
    """Refuse files of boxes that cannot be meant.

    Args:
        cfg: the config.
        is_train: which of the keys, ``_TRAIN`` or ``_TEST``.

    Raises:
        UserError: if there are boxes for a model that takes none, files do not match the data sets,
            or two thresholds contradict each other.
    """
    datasets = cfg.DATASETS
    part, names, files, images, _ = _files(cfg, is_train)
    if files and not cfg.MODEL.LOAD_PROPOSALS:
        raise UserError(
            f"DATASETS.PROPOSAL_FILES_{part} names boxes, but MODEL.LOAD_PROPOSALS is False; set "
            "it for a model that takes boxes, such as RoIActionDetector, or name none"
        )
    if files and len(files) != len(names):
        raise UserError(
            f"DATASETS.PROPOSAL_FILES_{part} has {len(files)} files for the {len(names)} data sets "
            f"of DATASETS.{part}; name one for each"
        )
    if images and len(images) != len(files):
        raise UserError(
            f"DATASETS.PROPOSAL_IMAGES_{part} has {len(images)} files for {len(files)} files of "
            'boxes; name one for each, "" where none is needed'
        )
    if files and datasets.PROPOSAL_KEEP_BEST_BELOW and cfg.MODEL.ROI_ACTION.BOX_SCORE_THRESH:
        raise UserError(
            f"DATASETS.PROPOSAL_KEEP_BEST_BELOW is {datasets.PROPOSAL_KEEP_BEST_BELOW}, so set "
            "MODEL.ROI_ACTION.BOX_SCORE_THRESH to 0: it would drop the best boxes that are kept"
        )


def with_proposal_file(
    cfg: CfgNode, records: list[dict], name: str, *, is_train: bool
) -> list[dict]:
    """Give the key frames of a data set their boxes, and say where these came from.

    Args:
        cfg: the config, see :func:`check_proposal_files`.
        records: dataset dicts.
        name: of the data set, one of ``DATASETS.TRAIN`` or ``DATASETS.TEST``.
        is_train: which of the two.

    Returns:
        New dataset dicts, or ``records`` where the config names no file for the data set.

    Raises:
        UserError: if a file cannot be used.
        OSError: if it cannot be read.
    """
    _, names, files, images, topk = _files(cfg, is_train)
    if not files or name not in names:
        return records
    index = list(names).index(name)
    boxes = read_person_boxes(
        files[index],
        cfg.DATASETS.PROPOSAL_FORMAT,
        images=(images[index] or None) if images else None,
    )
    keep_best = cfg.DATASETS.PROPOSAL_KEEP_BEST_BELOW
    records, coverage = with_proposals(
        records,
        boxes,
        threshold=keep_best or cfg.MODEL.ROI_ACTION.BOX_SCORE_THRESH,
        topk=topk,
        keep_best=keep_best > 0,
    )
    if comm.is_main_process():
        for text, count in boxes.remarks.items():
            logger.info(f"{boxes.source}: {text} ({count})")
        recall = proposal_recall(records)
        found = "" if recall is None else f"; recall of annotated boxes at IoU 0.5: {recall:.3f}"
        logger.info(f"{name}: {coverage}{found}")
    return records


def _files(cfg: CfgNode, is_train: bool) -> _Files:
    d = cfg.DATASETS
    if is_train:
        topk = d.PRECOMPUTED_PROPOSAL_TOPK_TRAIN
        return _Files("TRAIN", d.TRAIN, d.PROPOSAL_FILES_TRAIN, d.PROPOSAL_IMAGES_TRAIN, topk)
    topk = d.PRECOMPUTED_PROPOSAL_TOPK_TEST
    return _Files("TEST", d.TEST, d.PROPOSAL_FILES_TEST, d.PROPOSAL_IMAGES_TEST, topk)
