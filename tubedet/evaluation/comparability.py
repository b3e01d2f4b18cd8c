"""Whether predictions can belong to a ground truth at all, before zeros are reported."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from tubedet.data.annotations.ava_csv import AVATable
from tubedet.errors import UserError

from .prediction_csv import format_timestamp

logger = logging.getLogger(__name__)

# Boxes whose farthest edge is beyond this are no fractions of the frame, even if not clipped.
_LARGEST_FRACTION = 2.0
_LISTED = 8


class EvaluationError(UserError):
    """Predictions and ground truth do not belong together; the message says what to look at."""


def check_comparable(
    groundtruth: AVATable,
    predictions: AVATable,
    *,
    gt_keys: np.ndarray,
    keys: np.ndarray,
    gt_counted: np.ndarray,
    counted: np.ndarray,
    empty_keys: np.ndarray,
    class_ids: np.ndarray,
    same_source: bool = False,
) -> None:
    """Stop an evaluation that could only give zeros.

    Single key frames or classes without a counterpart are fine, and so are no predictions at all,
    which are logged as a warning: a model may find nothing.

    Args:
        groundtruth: M rows.
        predictions: N rows.
        gt_keys: (M,) int, the key frame of each row of the ground truth.
        keys: (N,) int, the key frame of each row of the predictions, in the same numbers.
        gt_counted: (M,) bool, rows on key frames that are evaluated, whatever their class.
        counted: (N,) bool, rows on key frames that are not excluded, whatever their class.
        empty_keys: Key frames that are evaluated and hold nobody.
        class_ids: The action ids that are evaluated.
        same_source: The predictions are known to be of these key frames: nothing is stopped.

    Raises:
        EvaluationError: One has its boxes in pixels and the other as fractions, or they have no
            evaluated key frame or no evaluated class in common.
    """
    if len(predictions) == 0:
        logger.warning("%s: there are no predictions, so every AP is 0.", predictions.source)
        return
    if len(groundtruth) == 0 or same_source:
        return
    _check_units(groundtruth, predictions)
    if not np.isin(keys[counted], np.union1d(gt_keys[gt_counted], empty_keys)).any():
        raise EvaluationError(
            f"{predictions.source} and {groundtruth.source} have no evaluated key frame in "
            f"common. The predictions have {_describe_key_frames(predictions, keys, counted)}; "
            f"the ground truth has {_describe_key_frames(groundtruth, gt_keys, gt_counted)}. "
            "Are both of the same split, and video ids and times written alike?"
        )
    gt_classes = np.intersect1d(groundtruth.action_ids[gt_counted], class_ids)
    classes = np.unique(predictions.action_ids[counted])
    if len(gt_classes) and not np.isin(classes, gt_classes).any():
        raise EvaluationError(
            f"{predictions.source} and {groundtruth.source} have no evaluated class in common. The "
            f"predictions have the action ids {_listed(classes)}; the ground truth has "
            f"{_listed(gt_classes)}. Action ids count from 1."
        )


def check_defined(mean_ap: float, groundtruth: AVATable, class_ids: Sequence[int]) -> None:
    """Stop a command whose only figure would be NaN.

    Without ground truth of an evaluated class the official script gives NaN, and so do the
    functions of this package; who asks for figures most likely gave the wrong file.

    Args:
        mean_ap: The mean over the classes that have ground truth.
        groundtruth: The ground truth that was evaluated.
        class_ids: The action ids that were evaluated.

    Raises:
        EvaluationError: The mean is NaN.
    """
    if not math.isnan(mean_ap):
        return
    class_ids, action_ids = np.sort(class_ids), np.unique(groundtruth.action_ids)
    if len(action_ids) == 0:
        there = "no box"
    elif np.isin(action_ids, class_ids).any():
        there = "boxes of evaluated classes on excluded key frames only"
    else:
        there = f"boxes of the action ids {_listed(action_ids)} only"
    raise EvaluationError(
        f"{groundtruth.source}: the ground truth has {there}; without a box of one of the "
        f"evaluated action ids, {_listed(class_ids)}, no AP is defined. Are these the right file "
        "and the right label map?"
    )


def _check_units(groundtruth: AVATable, predictions: AVATable) -> None:
    gt_edge, edge = (float(np.median(t.boxes.max(axis=1))) for t in (groundtruth, predictions))
    if (gt_edge > _LARGEST_FRACTION) == (edge > _LARGEST_FRACTION):
        return
    fractions, pixels = (groundtruth, predictions) if gt_edge < edge else (predictions, groundtruth)
    raise EvaluationError(
        f"the boxes of {pixels.source} look like pixels and those of {fractions.source} like "
        f"fractions of the frame: the far edge of half of them is beyond "
        f"{max(gt_edge, edge):g} and {min(gt_edge, edge):g}. Divide x by the width and y by the "
        "height of the frame, as AVA does."
    )


def _describe_key_frames(table: AVATable, keys: np.ndarray, counted: np.ndarray) -> str:
    rows = np.flatnonzero(counted)
    first = rows[0] if len(rows) else 0
    shown = (
        f"{format_timestamp(table.timestamps[first])} of video "
        f"{table.videos[table.video_index[first]]!r}"
    )
    if len(rows) == 0:  # excluded, or of a frame that is not part of the data set
        return f"none that is evaluated, the first row is {shown}"
    return f"{len(np.unique(keys[rows]))}, such as {shown}"


def _listed(action_ids: np.ndarray) -> str:
    more = f" and {len(action_ids) - _LISTED} more" if len(action_ids) > _LISTED else ""
    return ", ".join(str(i) for i in action_ids[:_LISTED].tolist()) + more
