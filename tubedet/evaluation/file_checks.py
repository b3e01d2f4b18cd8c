"""What a file of predictions, or of ground truth, says that its author can hardly mean.

The figures stay those of the protocol. These checks are for files that users give; what a model
has just made needs none.
"""

from __future__ import annotations

import codecs
import logging
import os
from collections.abc import Callable
from os import PathLike
from typing import TypeVar

import numpy as np

from tubedet.data.annotations.ava_csv import AnnotationError, AVATable
from tubedet.data.annotations.text import open_unpacked

logger = logging.getLogger(__name__)

_Path = TypeVar("_Path", bound=str | PathLike)

# A few scores of 2 or more are odd; more of them, all whole, are the numbers of persons.
_FEW = 3
_HEAD_BYTES = 4096
_PICKLE, _UTF_16 = b"\x80", (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def check_is_csv(path: str | PathLike) -> None:
    """Refuse pickles, other binary files and json, in which programs store results too.

    Args:
        path: Of a file of predictions, plain or gzip-compressed.

    Raises:
        AnnotationError: It is such a file.
        OSError: It cannot be read.
    """
    with open_unpacked(path) as stream:
        head = stream.read(_HEAD_BYTES)
    if head.startswith(_UTF_16):  # a text, and its reader says what is wrong
        return
    kind = ""
    if head.startswith(_PICKLE) or b"\0" in head:
        kind = "a pickle or another binary file"
    elif head.lstrip()[:1] in (b"[", b"{"):
        kind = "json"
    if kind:
        raise AnnotationError(
            f"{path} is {kind}; a prediction file is a csv of "
            "video_id,timestamp,x1,y1,x2,y2,action_id,score rows, see docs/evaluation.md"
        )


def read_predictions(path: _Path, read: Callable[[_Path], AVATable]) -> AVATable:
    """Read a file of predictions; where that fails, see whether it is no csv at all.

    Args:
        path: Of the file; it may be a pipe, of which nothing is read but by ``read``.
        read: Reads a csv.

    Raises:
        AnnotationError: Its rows cannot be used.
        OSError: It cannot be read.
    """
    try:
        return read(path)
    except AnnotationError:
        if os.path.isfile(path):
            check_is_csv(path)
        raise


def check_action_ids(predictions: AVATable) -> None:
    """Refuse action ids below 1, which no label map has.

    Args:
        predictions: Rows of a file.

    Raises:
        AnnotationError: There is one; the message names its row.
    """
    wrong = np.flatnonzero(predictions.action_ids < 1)
    if len(wrong):
        row = wrong[0]
        raise AnnotationError(
            f"{predictions.source}:{predictions.lines[row]}: action_id "
            f"{predictions.action_ids[row]} in column 7: ids count from 1; if those of this file "
            "count from 0, add 1 to column 7"
        )


def check_persons(groundtruth: AVATable) -> None:
    """Refuse a ground truth whose column 8 holds scores.

    Args:
        groundtruth: Rows of a file.

    Raises:
        AnnotationError: Column 8 has fractions; the message names the first row.
    """
    fractions = np.flatnonzero(groundtruth.last_column % 1 > 0)
    if len(fractions):
        row = fractions[0]
        raise AnnotationError(
            f"{groundtruth.source}:{groundtruth.lines[row]}: {groundtruth.last_column[row]:g} in "
            "column 8 is a score, so this is a prediction file: are --groundtruth and "
            "--predictions swapped? A ground truth has numbers of persons there, or 7 columns"
        )


def warn_of_odd_rows(predictions: AVATable, largest_action_id: int | None = None) -> None:
    """Log what can hardly be meant: boxes without area, unknown action ids, persons as scores.

    Args:
        predictions: Rows of a file.
        largest_action_id: Rows with a larger one are of no class. None: said elsewhere.
    """
    if len(predictions) == 0:
        return
    source, total, last = predictions.source, len(predictions), predictions.last_column
    boxes = predictions.boxes
    without_area = np.count_nonzero((boxes[:, 0] >= boxes[:, 2]) | (boxes[:, 1] >= boxes[:, 3]))
    if without_area:
        logger.warning(
            "%s: %d of %d rows have x2 <= x1 or y2 <= y1 and find nobody: boxes are two corners, "
            "not x, y, width, height",
            source,
            without_area,
            total,
        )
    if largest_action_id is not None:
        unknown = np.flatnonzero(predictions.action_ids > largest_action_id)
        if len(unknown):
            logger.warning(
                "%s: %d of %d rows are not counted: their action ids are above %d, the largest of "
                "the classes; the first is action_id %d in row %d",
                source,
                len(unknown),
                total,
                largest_action_id,
                predictions.action_ids[unknown[0]],
                predictions.lines[unknown[0]],
            )
    num_scores = total - np.count_nonzero(np.isnan(last))
    if num_scores == 0:
        logger.warning(
            "%s has no scores (7 columns): all count as 1, and the order of the rows decides",
            source,
        )
    elif not (last % 1 > 0).any() and np.count_nonzero(last > 1) > _FEW:
        logger.warning(
            "column 8 of %s has whole numbers only: are these persons (a ground-truth file), not "
            "scores?",
            source,
        )
