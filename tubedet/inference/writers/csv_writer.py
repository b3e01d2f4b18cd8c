"""The model's output at the key frames of a video as AVA rows."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import numpy as np
from detectron2.structures import Instances

from tubedet.evaluation.prediction_csv import write_prediction_rows

from .key_frame_writer import KeyFrameWriter

if TYPE_CHECKING:
    from tubedet.inference.video_detector import KeyFrameResult


class PredictionCsvWriter(KeyFrameWriter):
    """A csv of rows ``video_id,timestamp,x1,y1,x2,y2,action_id,score``, as evaluation takes them.

    Rows hold what the model said, untracked, and every action of every query with a score above 0.
    The timestamp counts seconds from the first frame, boxes are fractions of the frame, column k
    of the action scores has action id k + 1. Rows that are not finite are left out.

    Args:
        path: the file.
        video_id: first column.
    """

    def __init__(self, path: str | PathLike, video_id: str):
        super().__init__(path)
        self.video_id = video_id

    def write(self, result: KeyFrameResult, persons: Instances | None = None) -> None:
        """See :meth:`KeyFrameWriter.write`; ``persons`` are of no importance."""
        instances = result.instances
        height, width = instances.image_size
        boxes = instances.pred_boxes.tensor.double().numpy() / (width, height, width, height)
        scores = instances.action_scores.float().numpy()
        finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores).all(axis=1)
        write_prediction_rows(
            self._stream,
            self.video_id,
            result.time,
            boxes[finite],
            scores[finite],
            range(1, scores.shape[1] + 1),
        )
