"""Read the dense proposals of mmaction2, a pickle of arrays by key frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tubedet.data.annotations.text import AnnotationError
from tubedet.files.pickle_names import ARRAY_DATA, brief
from tubedet.files.restricted_pickle import PickleFileError, load_restricted_pickle

from .csv_files import LARGEST_TIME
from .table import BoxRows, PersonBoxes

NAME = "mmaction2-pickle"
_MAX_BYTES = 1 << 30  # the largest of the field, of the training part of AVA, has 300 MB
_MOST_BOXES = 1000  # of a key frame
_LARGEST_FRACTION = 2.0


def read_proposal_pickle(path: Path) -> PersonBoxes:
    """Read ``{"video,0902": array (n, 5)}``: x1, y1, x2, y2 as fractions of the frame, and a score.

    Arrays of 4 columns have no scores, so theirs are 1. Nothing in the file is executed.

    Args:
        path: the pickle.

    Raises:
        AnnotationError: if it holds something else; the message names the key.
        OSError: if it cannot be read.
    """
    try:
        content = load_restricted_pickle(path, max_bytes=_MAX_BYTES, allowed=ARRAY_DATA)
    except PickleFileError as error:
        raise AnnotationError(str(error)) from None
    if not isinstance(content, dict):
        raise AnnotationError(
            f"{path}: holds a {type(content).__name__}, expected a dict of 'video,second' to boxes"
        )
    rows = BoxRows(path)
    for key, value in content.items():
        where = f"{path}[{brief(key)}]"
        video, second = _moment(key, where)
        rows.add_moment(video, second)
        for row in _table(value, where).tolist():
            rows.add(video, second, row[:4], row[4] if len(row) == 5 else 1.0)
    return rows.finish(NAME, in_seconds=True)


def _moment(key: object, where: str) -> tuple[str, float]:
    video, comma, second = key.rpartition(",") if isinstance(key, str) else ("", "", "")
    if not (video and comma and second.isascii() and second.isdigit() and len(second) < 8):
        raise AnnotationError(f"{where}: expected a key like 'video,0902', a video and a second")
    if int(second) >= LARGEST_TIME:
        raise AnnotationError(f"{where}: there is no second {second}")
    return video, float(second)


def _table(value: object, where: str) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
        raise AnnotationError(f"{where}: expected an array of numbers")
    if value.size == 0:
        return np.empty((0, 5))
    if value.ndim != 2 or value.shape[1] not in (4, 5):
        raise AnnotationError(f"{where}: an array {value.shape}, expected (n, 4) or (n, 5)")
    if len(value) > _MOST_BOXES:
        raise AnnotationError(f"{where}: {len(value)} boxes, at most {_MOST_BOXES} are expected")
    table = value.astype(np.float64)
    if not np.isfinite(table).all() or np.abs(table[:, :4]).max() > _LARGEST_FRACTION:
        raise AnnotationError(f"{where}: expected boxes as fractions of the frame")
    if table.shape[1] == 5 and not ((table[:, 4] >= 0) & (table[:, 4] <= 1)).all():
        raise AnnotationError(f"{where}: a score beyond 0 and 1")
    return table
