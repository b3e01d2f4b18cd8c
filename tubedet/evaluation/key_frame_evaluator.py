"""From a model's outputs to a prediction csv inside detectron2's evaluation loop."""

from __future__ import annotations

import io
import itertools
import logging
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TextIO

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm

from tubedet.data.annotations.ava_csv import AVATable, parse_ava_csv, read_ava_csv
from tubedet.data.datasets.custom import file_stem
from tubedet.errors import UserError
from tubedet.files.atomic_writing import open_atomically

from .comparability import EvaluationError
from .prediction_csv import format_timestamp, write_prediction_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _KeyFramePredictions:
    """Predictions of one key frame: boxes (K, 4) float64 fractions, scores (K, C) float32.

    K queries have a score that counts, other scores are 0; the C columns are evaluated classes.
    ``linked``, bool (K, C), tells which of them make tubes; None: all.
    """

    video_id: str
    timestamp: float
    boxes: np.ndarray
    scores: np.ndarray
    linked: np.ndarray | None = None


class KeyFrameEvaluator(DatasetEvaluator, ABC):
    """Collects predictions of all processes, writes them as csv and evaluates exactly that csv.

    Every pair of a query and an evaluated class whose score is above ``min_score`` is a detection,
    and nothing else is. The figures do not depend on the number of processes.

    Args:
        dataset_name: Name of the data set, for files and messages.
        output_dir: Folder for ``<dataset_name>_predictions.csv`` and
            ``<dataset_name>_results.json``, made if missing; None: no files.
        action_ids: Ids (from 1) of the evaluated classes.
        min_score: Scores up to this one count for nothing.
        ava_kinetics: See :func:`tubedet.data.annotations.ava_csv.read_ava_csv`.
        distributed: Gather the predictions of all processes on the main one. Otherwise each
            process evaluates what it has processed itself.
        sampled: Key frames that were not processed do not count, instead of as missed.

    Raises:
        UserError: ``output_dir`` is a file.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | PathLike | None,
        *,
        action_ids: Iterable[int],
        min_score: float,
        ava_kinetics: bool,
        distributed: bool,
        sampled: bool = False,
    ):
        self._dataset_name = dataset_name
        self._output_dir = None if output_dir is None else Path(output_dir)
        if self._output_dir is not None and self._output_dir.is_file():
            raise UserError(f"{self._output_dir} is a file; results need a folder of that name")
        self._action_ids = np.array(list(action_ids))
        self._min_score = min_score
        self._ava_kinetics = ava_kinetics
        self._distributed = distributed
        self._sampled = sampled
        self.reset()

    @abstractmethod
    def timestamp_of(self, key_frame: dict) -> float:
        """Return what the second column of the csv says of a model's input.

        Raises:
            UserError: The csv cannot express it.
        """

    @abstractmethod
    def annotated_key_frames(self) -> set[tuple[str, float]]:
        """(video id, timestamp) of the key frames whose ground truth counts."""

    @abstractmethod
    def counted_groundtruth(self) -> AVATable:
        """Return the rows of evaluated classes in key frames that count; AP needs one."""

    @abstractmethod
    def evaluate_predictions(
        self,
        predictions: AVATable,
        json_path: Path | None,
        sample: Collection[tuple[str, float]] | None = None,
    ) -> OrderedDict:
        """Compute the figures in percent, log a table and write the json if there is a path.

        Args:
            predictions: What was written.
            json_path: Where the figures go; None: nowhere.
            sample: (video id, timestamp) of the key frames that count; None: all.
        """

    def linked_pairs(self, scores: np.ndarray, instances: Instances) -> np.ndarray | None:
        """Return which pairs of a query and a class make tubes, bool (Q, C); None: all.

        Args:
            scores: (Q, C) of the evaluated classes.
            instances: of the Q queries.
        """
        return None

    def reset(self) -> None:
        """Forget all predictions."""
        self._key_frames: list[_KeyFramePredictions] = []
        self._num_not_finite = 0

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Take the predictions of some key frames.

        Args:
            inputs: Per key frame ``video_id`` (str), ``timestamp`` (seconds) or ``frame_number``,
                ``height`` and ``width`` (the frame size in pixels that the boxes refer to).
            outputs: Per key frame ``instances`` with ``pred_boxes``, Boxes (Q, 4) XYXY in pixels,
                and ``action_scores`` (Q, A); column k belongs to action id k + 1; ``scores`` (Q,)
                of persons, where :meth:`linked_pairs` asks for them.

        Raises:
            UserError: There are fewer action scores than evaluated ids, or the key frame cannot
                be expressed in the csv.
        """
        for key_frame, output in zip(inputs, outputs):
            timestamp = self.timestamp_of(key_frame)
            instances = output["instances"]
            scores = instances.action_scores.detach().float().cpu().numpy()
            if scores.shape[1] < self._action_ids.max():
                raise UserError(
                    f"{_name(key_frame['video_id'], timestamp)}: {scores.shape[1]} action scores "
                    f"per box, but the label map of {self._dataset_name} has action id "
                    f"{self._action_ids.max()}"
                )
            scores = scores[:, self._action_ids - 1]
            boxes = instances.pred_boxes.tensor.detach().double().cpu().numpy()
            size = [key_frame["width"], key_frame["height"]] * 2
            finite = np.isfinite(boxes).all(axis=1) & np.isfinite(scores).all(axis=1)
            self._num_not_finite += int(np.count_nonzero(~finite))
            counts = scores > self._min_score
            kept = finite & counts.any(axis=1)
            linked = self.linked_pairs(scores, instances)
            self._key_frames.append(
                _KeyFramePredictions(
                    str(key_frame["video_id"]),
                    timestamp,
                    boxes[kept] / size,
                    np.where(counts[kept], scores[kept], 0),
                    None if linked is None else linked[kept],
                )
            )

    def evaluate(self) -> OrderedDict:
        """Compute the figures from all processed key frames, write the files, log the table.

        Returns:
            OrderedDict: figures in percent; empty on all but the main process.

        Raises:
            EvaluationError: The predictions cannot belong to the ground truth.
            UserError: A key frame was processed twice.
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
        annotated = self.annotated_key_frames()
        processed = {(k.video_id, k.timestamp) for k in key_frames}
        is_sample = self._sampled and not annotated <= processed
        self._warn_of_gaps(annotated, set() if is_sample else annotated - processed, num_not_finite)
        predictions = self._written(key_frames)
        json_path = None
        if self._output_dir is not None:
            json_path = self._output_dir / f"{file_stem(self._dataset_name)}_results.json"
        if not is_sample:
            return self.evaluate_predictions(predictions, json_path)
        try:
            if not annotated & processed:
                raise EvaluationError("none of them is annotated")
            return self.evaluate_predictions(predictions, json_path, processed)
        except EvaluationError as error:  # no reason to end a training
            logger.warning("No figures of %d key frames: %s", len(processed), error)
            return OrderedDict()

    def _sorted_without_repetition(
        self, key_frames: list[_KeyFramePredictions]
    ) -> list[_KeyFramePredictions]:
        key_frames = sorted(key_frames, key=lambda k: (k.video_id, k.timestamp))
        for one, following in itertools.pairwise(key_frames):
            if (one.video_id, one.timestamp) == (following.video_id, following.timestamp):
                raise UserError(
                    f"{_name(one.video_id, one.timestamp)} in dataset {self._dataset_name} was "
                    "processed twice: list it once, use InferenceSampler, and call reset() "
                    "between evaluations"
                )
        return key_frames

    def _warn_of_gaps(self, annotated: set, missing: set, num_not_finite: int) -> None:
        if num_not_finite:
            logger.warning(
                "%d boxes with NaN or infinite values have been left out.", num_not_finite
            )
        if missing:
            logger.warning(
                "%d of %d annotated key frames of %s were not processed: their boxes count as "
                "missed.",
                len(missing),
                len(annotated),
                self._dataset_name,
            )

    def _written(
        self, key_frames: list[_KeyFramePredictions], kind: str = "predictions"
    ) -> AVATable:
        """Write the csv of a kind, to memory without ``output_dir``, and read it back."""
        if self._output_dir is None:
            memory = io.StringIO(newline="")
            self._write_rows(key_frames, memory)
            memory.seek(0)
            return parse_ava_csv(memory, source="predictions", ava_kinetics=self._ava_kinetics)
        self._output_dir.mkdir(parents=True, exist_ok=True)
        path = self._output_dir / f"{file_stem(self._dataset_name)}_{kind}.csv"
        with open_atomically(path) as stream:
            self._write_rows(key_frames, stream)
        logger.info("Predictions are in %s", path)
        return read_ava_csv(path, ava_kinetics=self._ava_kinetics)

    def _write_rows(self, key_frames: Iterable[_KeyFramePredictions], stream: TextIO) -> None:
        action_ids = self._action_ids.tolist()
        for k in key_frames:
            write_prediction_rows(stream, k.video_id, k.timestamp, k.boxes, k.scores, action_ids)


def _name(video_id: str, timestamp: float) -> str:
    return f"key frame {format_timestamp(timestamp)} of video {video_id!r}"
