"""Evaluation of a model on AVA key frames inside detectron2's evaluation loop."""

from __future__ import annotations

import io
import itertools
import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TextIO

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from tubedet.data.ava_annotations import (
    AvaTable,
    parse_ava_csv,
    read_ava_csv,
    read_label_map,
    read_timestamps,
)
from tubedet.evaluation.ava_protocol import AvaResult, evaluate_ava, get_protocol
from tubedet.evaluation.prediction_csv import format_timestamp, write_prediction_rows
from tubedet.evaluation.report import open_whole, result_table, write_result_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _KeyFramePredictions:
    """Predictions of one key frame: boxes (K, 4) float64 fractions, scores (K, C) float32.

    K queries have a positive score; the C columns are the classes of the label map.
    """

    video_id: str
    timestamp: float
    boxes: np.ndarray
    scores: np.ndarray


class AVAEvaluator(DatasetEvaluator):
    """Writes the official prediction csv of AVA and computes frame-mAP@0.5 from it.

    The figures are those of the official script (see :mod:`tubedet.evaluation.ava_protocol`) for
    exactly the rows that are written: every pair of a query and a class of the label map whose
    score is above 0. They do not depend on the number of processes.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | PathLike | None = None,
        *,
        protocol: str = "official",
        distributed: bool = True,
    ):
        """
        Args:
            dataset_name: Name in ``MetadataCatalog``; its metadata must hold the paths
                ``groundtruth_csv`` and ``label_map`` and may hold ``exclusions_csv``.
            output_dir: Folder for ``<dataset_name>_predictions.csv`` and
                ``<dataset_name>_results.json``, made if missing; None: no files.
            protocol: Key of :data:`tubedet.evaluation.ava_protocol.AVA_PROTOCOLS`.
            distributed: Gather the predictions of all processes on the main one. Otherwise each
                process evaluates what it has processed itself.

        Raises:
            AttributeError: The metadata lacks a path.
            AnnotationError: An annotation file breaks its format.
            OSError: An annotation file cannot be read.
            ValueError: Unknown protocol.
        """
        metadata = MetadataCatalog.get(dataset_name)
        self._dataset_name = dataset_name
        self._output_dir = None if output_dir is None else Path(output_dir)
        self._protocol = protocol
        self._ava_kinetics = get_protocol(protocol).ava_kinetics
        self._distributed = distributed
        self._label_map = read_label_map(metadata.label_map)
        self._action_ids = np.array(list(self._label_map))
        exclusions_csv = metadata.get("exclusions_csv", None)
        has_exclusions = exclusions_csv and not self._ava_kinetics  # not known to official_2020
        self._exclusions = read_timestamps(exclusions_csv) if has_exclusions else set()
        # Read before the model runs: a broken file should not cost hours.
        self._groundtruth = read_ava_csv(metadata.groundtruth_csv, ava_kinetics=self._ava_kinetics)
        self.reset()

    def reset(self) -> None:
        """Forgets all predictions."""
        self._key_frames: list[_KeyFramePredictions] = []
        self._num_not_finite = 0

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Takes the predictions of some key frames.

        Args:
            inputs: Per key frame ``video_id`` (str), ``timestamp`` (seconds), ``height`` and
                ``width`` (the frame size in pixels that the boxes refer to).
            outputs: Per key frame ``instances`` with ``pred_boxes``, Boxes (Q, 4) XYXY in pixels,
                and ``action_scores`` (Q, A); column k belongs to action id k + 1.

        Raises:
            ValueError: There are fewer action scores than the label map has ids, or the timestamp
                has a fraction, which the protocol cannot express.
        """
        for key_frame, output in zip(inputs, outputs):
            timestamp = round(float(key_frame["timestamp"]), 6)
            name = f"key frame {format_timestamp(timestamp)} of video {key_frame['video_id']!r}"
            if timestamp % 1 and not self._ava_kinetics:
                raise ValueError(
                    f"{name}: protocol {self._protocol} knows whole seconds only; "
                    "official_2020 has fractions"
                )
            instances = output["instances"]
            scores = instances.action_scores.detach().float().cpu().numpy()
            if scores.shape[1] < self._action_ids.max():
                raise ValueError(
                    f"{name}: {scores.shape[1]} action scores per box, but the label map of "
                    f"{self._dataset_name} has action id {self._action_ids.max()}"
                )
            scores = scores[:, self._action_ids - 1]
            boxes = instances.pred_boxes.tensor.detach().double().cpu().numpy()
            size = [key_frame["width"], key_frame["height"]] * 2
            finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores).all(axis=1)
            self._num_not_finite += int(np.count_nonzero(~finite))
            kept = finite & (scores > 0).any(axis=1)
            self._key_frames.append(
                _KeyFramePredictions(
                    str(key_frame["video_id"]), timestamp, boxes[kept] / size, scores[kept]
                )
            )

    def evaluate(self) -> OrderedDict:
        """Computes the figures from all processed key frames, writes the files, logs the table.

        Returns:
            OrderedDict: ``{"frame_ap": {"mAP@0.5IOU": ..., "AP-<class name>": ...}}`` in percent,
            without the classes that have no ground truth; empty on all but the main process.

        Raises:
            ValueError: A key frame was processed twice.
            OSError: The output cannot be written.
        """
        key_frames, num_not_finite = self._key_frames, self._num_not_finite
        if self._distributed:
            comm.synchronize()
            gathered = comm.gather((key_frames, num_not_finite), dst=0)
            if not comm.is_main_process():
                return OrderedDict()
            key_frames = list(itertools.chain.from_iterable(shard for shard, _ in gathered))
            num_not_finite = sum(count for _, count in gathered)
        key_frames = self._sorted_without_repetition(key_frames)
        self._warn_of_gaps(key_frames, num_not_finite)

        result = evaluate_ava(
            self._groundtruth,
            self._written(key_frames),
            self._label_map,
            self._exclusions,
            self._protocol,
        )
        if self._output_dir is not None:
            write_result_json(result, self._output_dir / f"{self._dataset_name}_results.json")
        logger.info("Evaluation of %s:\n%s", self._dataset_name, result_table(result))
        return _in_percent(result)

    def _sorted_without_repetition(
        self, key_frames: list[_KeyFramePredictions]
    ) -> list[_KeyFramePredictions]:
        key_frames = sorted(key_frames, key=lambda k: (k.video_id, k.timestamp))
        for one, following in itertools.pairwise(key_frames):
            if (one.video_id, one.timestamp) == (following.video_id, following.timestamp):
                raise ValueError(
                    f"key frame {format_timestamp(one.timestamp)} of video {one.video_id!r} in "
                    f"dataset {self._dataset_name} was processed twice: list it once, use "
                    "InferenceSampler, and call reset() between evaluations"
                )
        return key_frames

    def _warn_of_gaps(self, key_frames: list[_KeyFramePredictions], num_not_finite: int) -> None:
        if num_not_finite:
            logger.warning(
                "%d boxes with NaN or infinite values have been left out.", num_not_finite
            )
        groundtruth = self._groundtruth
        annotated = set(zip(groundtruth.video_ids.tolist(), groundtruth.timestamps.tolist()))
        annotated -= self._exclusions
        missing = annotated - {(k.video_id, k.timestamp) for k in key_frames}
        if missing:
            logger.warning(
                "%d of %d annotated key frames of %s were not processed: their boxes count as "
                "missed.",
                len(missing),
                len(annotated),
                self._dataset_name,
            )

    def _written(self, key_frames: list[_KeyFramePredictions]) -> AvaTable:
        """Writes the prediction csv, to memory without ``output_dir``, and reads it back."""
        if self._output_dir is None:
            stream = io.StringIO(newline="")
            self._write_rows(key_frames, stream)
            stream.seek(0)
            return parse_ava_csv(stream, source="predictions", ava_kinetics=self._ava_kinetics)
        self._output_dir.mkdir(parents=True, exist_ok=True)
        path = self._output_dir / f"{self._dataset_name}_predictions.csv"
        with open_whole(path) as stream:
            self._write_rows(key_frames, stream)
        logger.info("Predictions are in %s", path)
        return read_ava_csv(path, ava_kinetics=self._ava_kinetics)

    def _write_rows(self, key_frames: Iterable[_KeyFramePredictions], stream: TextIO) -> None:
        action_ids = self._action_ids.tolist()
        for k in key_frames:
            write_prediction_rows(stream, k.video_id, k.timestamp, k.boxes, k.scores, action_ids)


def _in_percent(result: AvaResult) -> OrderedDict:
    figures = {"mAP@0.5IOU": 100 * result.mean_ap}
    for name, ap in result.per_class.items():
        if not np.isnan(ap):
            figures[f"AP-{name}"] = 100 * ap
    return OrderedDict(frame_ap=figures)
