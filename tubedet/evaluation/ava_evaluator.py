"""Evaluation of a model on AVA key frames inside detectron2's evaluation loop."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection
from os import PathLike
from pathlib import Path

import numpy as np
from detectron2.data import MetadataCatalog

from tubedet.data.annotations.ava_csv import AVATable
from tubedet.errors import UserError

from .ava_groundtruth import load_ava_groundtruth, persons_of, rows_of
from .ava_protocol import AVAResult, check_groundtruth, evaluate_ava, get_protocol
from .ava_report import result_table, write_result_json
from .key_frame_evaluator import KeyFrameEvaluator
from .prediction_csv import format_timestamp

logger = logging.getLogger(__name__)


class AVAEvaluator(KeyFrameEvaluator):
    """Writes the official prediction csv of AVA and computes frame-mAP@0.5 from it.

    The figures are those of the official script (see :mod:`tubedet.evaluation.ava_protocol`) for
    exactly the rows that are written: every pair of a query and a class of the label map whose
    score is above 0. They are ``{"frame_ap": {"mAP@0.5IOU": ..., "AP-<class name>": ...}}`` in
    percent, without the classes that have no ground truth.

    Args:
        dataset_name: Name in ``MetadataCatalog``; its metadata must hold the paths
            ``groundtruth_csv`` and ``label_map`` and may hold ``exclusions_csv``, or hold
            ``groundtruth`` (see :func:`load_ava_groundtruth`).
        output_dir: See :class:`KeyFrameEvaluator`.
        protocol: Key of :data:`tubedet.evaluation.ava_protocol.AVA_PROTOCOLS`.
        person_only: Evaluate a person detector, whose only class is "person".
        distributed, sampled: See :class:`KeyFrameEvaluator`.

    Raises:
        AttributeError: The metadata lacks a path.
        AnnotationError: An annotation file breaks its format.
        OSError: An annotation file cannot be read.
        UserError: Unknown protocol, or the label map has more actions than the data set.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | PathLike | None = None,
        *,
        protocol: str = "official",
        person_only: bool = False,
        distributed: bool = True,
        sampled: bool = False,
    ):
        self._protocol = protocol
        ava_kinetics = get_protocol(protocol).ava_kinetics
        # Read before the model runs: a broken file should not cost hours.
        groundtruth = load_ava_groundtruth(dataset_name, ava_kinetics=ava_kinetics)
        if person_only:
            groundtruth = persons_of(groundtruth)
        self._groundtruth = groundtruth.table
        self._label_map = groundtruth.label_map
        self._exclusions = set() if ava_kinetics else groundtruth.exclusions  # unknown to 2020
        check_groundtruth(self._groundtruth, self._label_map, self._exclusions, protocol)
        names = MetadataCatalog.get(dataset_name).get("action_names", None)
        if not person_only and names is not None and max(self._label_map) > len(names):
            raise UserError(
                f"data set {dataset_name!r}: action id {max(self._label_map)} is to be evaluated, "
                f"but the data set has {len(names)} actions"
            )
        super().__init__(
            dataset_name,
            output_dir,
            action_ids=self._label_map,
            min_score=0.0,
            ava_kinetics=ava_kinetics,
            distributed=distributed,
            sampled=sampled,
        )

    def timestamp_of(self, key_frame: dict) -> float:
        """Seconds; before the protocol of 2020 they must be whole."""
        timestamp = round(float(key_frame["timestamp"]), 6)
        if timestamp % 1 and not self._ava_kinetics:
            raise UserError(
                f"key frame {format_timestamp(timestamp)} of video {key_frame['video_id']!r}: "
                f"protocol {self._protocol} knows whole seconds only; official_2020 has fractions"
            )
        return timestamp

    def annotated_key_frames(self) -> set[tuple[str, float]]:
        """Those with a box and not excluded."""
        groundtruth = self._groundtruth
        annotated = set(zip(groundtruth.video_ids.tolist(), groundtruth.timestamps.tolist()))
        return annotated.difference(self._exclusions)

    def counted_groundtruth(self) -> AVATable:
        """Return those of classes of the label map that are not excluded."""
        table = self._groundtruth
        key_frames = zip(table.video_ids.tolist(), table.timestamps.tolist())
        counted = np.array([key_frame not in self._exclusions for key_frame in key_frames], bool)
        return table.select(counted & np.isin(table.action_ids, list(self._label_map)))

    def evaluate_predictions(
        self,
        predictions: AVATable,
        json_path: Path | None,
        sample: Collection[tuple[str, float]] | None = None,
    ) -> OrderedDict:
        """See :func:`tubedet.evaluation.ava_protocol.evaluate_ava`."""
        groundtruth = self._groundtruth
        if sample is not None:
            groundtruth = rows_of(groundtruth, sample)
        result = evaluate_ava(
            groundtruth,
            predictions,
            self._label_map,
            self._exclusions,
            self._protocol,
            same_source=True,
        )
        if json_path is not None:
            write_result_json(result, json_path)
        logger.info("Evaluation of %s:\n%s", self._dataset_name, result_table(result))
        return _in_percent(result)


def _in_percent(result: AVAResult) -> OrderedDict:
    figures = {"mAP@0.5IOU": 100 * result.mean_ap}
    for name, ap in result.per_class.items():
        if not np.isnan(ap):
            figures[f"AP-{name}"] = 100 * ap
    return OrderedDict(frame_ap=figures)
