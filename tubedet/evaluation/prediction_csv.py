"""Rows of the official AVA prediction csv, and of the like one for action tubes.

The csv for action tubes has the same columns. Its second one is the number of the frame, from 1,
and action id k + 1 is class k; boxes are fractions of the frame there too.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from os import PathLike
from typing import TextIO

import numpy as np

from tubedet.data.annotations.ava_csv import AnnotationError, AVATable, read_ava_csv


def format_timestamp(timestamp: float) -> str:
    """Seconds as AVA writes them: four digits when whole ("0902"), else with decimals ("902.5")."""
    timestamp = round(timestamp, 6)
    return f"{timestamp:04.0f}" if timestamp % 1 == 0 else f"{timestamp:.6f}".rstrip("0")


def write_prediction_rows(
    stream: TextIO,
    video_id: str,
    timestamp: float,
    boxes: np.ndarray,
    scores: np.ndarray,
    action_ids: Sequence[int],
) -> None:
    """Append the rows ``video_id,timestamp,x1,y1,x2,y2,action_id,score`` of one key frame.

    Boxes have nine decimals and scores nine significant digits, which keep every float32 apart
    from its neighbours, so that a file scores exactly as the arrays behind it.

    Args:
        stream: open text file.
        video_id: first column.
        timestamp: seconds, or the number of the frame.
        boxes: float (K, 4), XYXY as fractions of the frame.
        scores: float (K, C); a pair of box and action gets a row if its score is above 0.
        action_ids: the C ids that the columns of ``scores`` stand for.
    """
    stamp = format_timestamp(timestamp)
    corners = [[f"{x:.9f}" for x in box] for box in boxes.tolist()]
    rows, columns = np.nonzero(scores > 0)
    values = scores[rows, columns].tolist()
    csv.writer(stream, lineterminator="\n").writerows(
        (video_id, stamp, *corners[row], action_ids[column], f"{value:.9g}")
        for row, column, value in zip(rows.tolist(), columns.tolist(), values)
    )


def read_tube_predictions(path: str | PathLike) -> AVATable:
    """Read ``video_id,frame_number,x1,y1,x2,y2,action_id,score`` rows, frame by frame.

    Args:
        path: csv, plain or gzip-compressed.

    Returns:
        AVATable: ``timestamps`` are frame numbers.

    Raises:
        AnnotationError: A row breaks the format, has no score or a frame number below 1.
        OSError: The file cannot be read.
    """
    table = read_ava_csv(path)
    for wrong, message in (
        (np.isnan(table.last_column), "no score, expected it in column 8"),
        (table.timestamps < 1, "frame number below 1 in column 2; frames count from 1"),
    ):
        if wrong.any():
            raise AnnotationError(f"{path}:{table.lines[wrong][0]}: {message}")
    return table
