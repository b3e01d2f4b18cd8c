"""Evaluation of a model on data sets of action tubes inside detectron2's evaluation loop."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections import OrderedDict
from collections.abc import Collection
from os import PathLike
from pathlib import Path

import numpy as np
from detectron2.structures import Instances

from tubedet.data.annotations.ava_csv import AVATable
from tubedet.errors import UserError

from .action_tube_groundtruth import load_action_tube_groundtruth
from .action_tube_protocol import (
    evaluate_action_tubes,
    frame_average_precisions,
    get_tube_protocol,
    match_action_tubes,
)
from .action_tube_report import tube_result_table, write_tube_result_json
from .key_frame_evaluator import KeyFrameEvaluator

logger = logging.getLogger(__name__)

# The least score of a tube, too: weaker pairs would not make tubes, and 24 classes times the
# queries of all frames of UCF101-24 would make a csv of gigabytes.
MIN_SCORE = 0.005
TUBE_CLASSES = ("all", "best")


class ActionTubeEvaluator(KeyFrameEvaluator):
    """Writes a prediction csv and computes frame-mAP and video-mAP from it (JHMDB, UCF101-24).

    Every pair of a query and a class whose action score is above 0.005 is a detection: a query may
    speak for several classes, as in ACT and MOC, and nothing is suppressed among queries. (The
    published evaluation of TubeR instead gives a query its most probable class only.) Tubes are
    linked from all detections, or, as in the class-query detector's evaluation of UCF101-24, from
    the most probable class of each sure person; the csv of these rows is
    ``<dataset_name>_linked_predictions.csv``. The figures are ``{"frame_ap_<protocol>":
    {"mAP@0.5IOU": ..., "AP-<class name>": ...}, "video_ap_<protocol>": {"mAP@0.2IOU": ..., ...}}``
    in percent, without the classes that have no ground truth.

    Args:
        dataset_name: Name in ``MetadataCatalog`` of a data set of the evaluator type
            "action_tubes".
        output_dir: See :class:`KeyFrameEvaluator`.
        protocol: Key of :data:`tubedet.evaluation.action_tube_protocol.TUBE_PROTOCOLS`.
        tube_classes: "all", or "best": the class of a query that may become a tube has its largest
            score.
        tube_person_thresh: Least person probability of a query that may become a tube.
        distributed: See :class:`KeyFrameEvaluator`.
        sampled: See :class:`KeyFrameEvaluator`. There is no video-mAP if frames are missing.

    Raises:
        AnnotationError: An annotation file breaks its format.
        OSError: A file cannot be read.
        ValueError: Unknown protocol or classes of tubes, or a bound that is no probability.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | PathLike | None = None,
        *,
        protocol: str = "act",
        tube_classes: str = "all",
        tube_person_thresh: float = 0.0,
        distributed: bool = True,
        sampled: bool = False,
    ):
        get_tube_protocol(protocol)
        if tube_classes not in TUBE_CLASSES:
            raise UserError(f"TEST.TUBE_CLASSES is {tube_classes!r}; choose one of {TUBE_CLASSES}")
        if not 0 <= tube_person_thresh <= 1:
            raise UserError(
                f"TEST.TUBE_PERSON_THRESH is {tube_person_thresh}; give a number from 0 to 1"
            )
        self._protocol = protocol
        self._best_class = tube_classes == "best"
        self._person_thresh = tube_person_thresh
        self._links_all = tube_classes == "all" and tube_person_thresh == 0
        self._linked_predictions: AVATable | None = None
        self._groundtruth = load_action_tube_groundtruth(dataset_name)
        super().__init__(
            dataset_name,
            output_dir,
            action_ids=range(1, len(self._groundtruth.action_names) + 1),
            min_score=MIN_SCORE,
            ava_kinetics=False,
            distributed=distributed,
            sampled=sampled,
        )

    def linked_pairs(self, scores: np.ndarray, instances: Instances) -> np.ndarray | None:
        """See :meth:`KeyFrameEvaluator.linked_pairs`."""
        if self._links_all:
            return None
        linked = np.ones(scores.shape, dtype=bool)
        if self._best_class and len(scores):
            linked = np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None]
        persons = instances.scores.detach().float().cpu().numpy()
        return linked & (persons >= np.float32(self._person_thresh))[:, None]

    def timestamp_of(self, key_frame: dict) -> float:
        """Return the number of the frame."""
        return float(key_frame["frame_number"])

    def annotated_key_frames(self) -> set[tuple[str, float]]:
        """All frames of the data set."""
        return {
            (video, float(number))
            for video, numbers in self._groundtruth.frame_numbers.items()
            for number in numbers
        }

    def counted_groundtruth(self) -> AVATable:
        """Return the boxes of all tubes."""
        return self._groundtruth.table()

    def evaluate_predictions(
        self,
        predictions: AVATable,
        json_path: Path | None,
        sample: Collection[tuple[str, float]] | None = None,
    ) -> OrderedDict:
        """See :func:`tubedet.evaluation.action_tube_protocol.evaluate_action_tubes`."""
        if sample is not None:
            return self._evaluate_frames(predictions, sample)
        result = evaluate_action_tubes(
            self._groundtruth,
            predictions,
            self._protocol,
            same_source=True,
            linked=self._linked_predictions,
        )
        if json_path is not None:
            write_tube_result_json(result, json_path)
        logger.info("Evaluation of %s:\n%s", self._dataset_name, tube_result_table(result))
        return OrderedDict(
            {
                f"frame_ap_{result.protocol}": _in_percent(result.frame_map, result.frame_ap),
                f"video_ap_{result.protocol}": {
                    f"mAP@{ious}IOU": 100 * ap for ious, ap in result.video_map.items()
                },
            }
        )

    def _written(self, key_frames, kind="predictions"):
        if not self._links_all:
            linked = [
                dataclasses.replace(k, scores=np.where(k.linked, k.scores, 0)) for k in key_frames
            ]
            self._linked_predictions = super()._written(linked, "linked_predictions")
        return super()._written(key_frames, kind)

    def _evaluate_frames(
        self, predictions: AVATable, sample: Collection[tuple[str, float]]
    ) -> OrderedDict:
        """Compute frame-mAP of some frames."""
        groundtruth = self._groundtruth
        numbers = {
            video: [number for number in numbers if (video, float(number)) in sample]
            for video, numbers in groundtruth.frame_numbers.items()
        }
        groundtruth = dataclasses.replace(groundtruth, frame_numbers=numbers)
        matches = match_action_tubes(groundtruth, predictions, self._protocol)
        mean, per_class = frame_average_precisions(matches, self._protocol)
        logger.info(
            "Evaluation of %d frames of %s: frame-mAP@0.5IOU %.2f %% (protocol %s); video-mAP "
            "needs all frames",
            matches.num_key_frames,
            self._dataset_name,
            100 * mean,
            self._protocol,
        )
        return OrderedDict({f"frame_ap_{self._protocol}": _in_percent(mean, per_class)})


def _in_percent(mean: float, per_class: dict[str, float]) -> dict[str, float]:
    figures = {"mAP@0.5IOU": 100 * mean}
    for name, ap in per_class.items():
        if not math.isnan(ap):
            figures[f"AP-{name}"] = 100 * ap
    return figures
