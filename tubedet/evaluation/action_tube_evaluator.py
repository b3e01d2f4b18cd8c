"""Evaluation of a model on data sets of action tubes inside detectron2's evaluation loop."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from os import PathLike
from pathlib import Path

from tubedet.data.annotations.ava_csv import AVATable

from .action_tube_groundtruth import load_action_tube_groundtruth
from .action_tube_protocol import ActionTubeResult, evaluate_action_tubes, get_tube_protocol
from .action_tube_report import tube_result_table, write_tube_result_json
from .key_frame_evaluator import KeyFrameEvaluator

logger = logging.getLogger(__name__)

# The least score of a tube, too: weaker pairs would not make tubes, and 24 classes times the
# queries of all frames of UCF101-24 would make a csv of gigabytes.
MIN_SCORE = 0.005


class ActionTubeEvaluator(KeyFrameEvaluator):
    """Writes a prediction csv and computes frame-mAP and video-mAP from it (JHMDB, UCF101-24).

    Every pair of a query and a class whose action score is above 0.005 is a detection: a query may
    speak for several classes, as in ACT and MOC, and nothing is suppressed among queries. (The
    published evaluation of TubeR instead gives a query its most probable class only.) The figures
    are ``{"frame_ap_<protocol>": {"mAP@0.5IOU": ..., "AP-<class name>": ...},
    "video_ap_<protocol>": {"mAP@0.2IOU": ..., ...}}`` in percent, without the classes that have no
    ground truth.

    Args:
        dataset_name: Name in ``MetadataCatalog`` of a data set of the evaluator type
            "action_tubes".
        output_dir: See :class:`KeyFrameEvaluator`.
        protocol: Key of :data:`tubedet.evaluation.action_tube_protocol.TUBE_PROTOCOLS`.
        distributed: See :class:`KeyFrameEvaluator`.

    Raises:
        AnnotationError: An annotation file breaks its format.
        OSError: A file cannot be read.
        ValueError: Unknown protocol.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | PathLike | None = None,
        *,
        protocol: str = "act",
        distributed: bool = True,
    ):
        get_tube_protocol(protocol)
        self._protocol = protocol
        self._groundtruth = load_action_tube_groundtruth(dataset_name)
        super().__init__(
            dataset_name,
            output_dir,
            action_ids=range(1, len(self._groundtruth.action_names) + 1),
            min_score=MIN_SCORE,
            ava_kinetics=False,
            distributed=distributed,
        )

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

    def evaluate_predictions(self, predictions: AVATable, json_path: Path | None) -> OrderedDict:
        """See :func:`tubedet.evaluation.action_tube_protocol.evaluate_action_tubes`."""
        result = evaluate_action_tubes(
            self._groundtruth, predictions, self._protocol, same_source=True
        )
        if json_path is not None:
            write_tube_result_json(result, json_path)
        logger.info("Evaluation of %s:\n%s", self._dataset_name, tube_result_table(result))
        return _in_percent(result)


def _in_percent(result: ActionTubeResult) -> OrderedDict:
    frame_figures = {"mAP@0.5IOU": 100 * result.frame_map}
    for name, ap in result.frame_ap.items():
        if not math.isnan(ap):
            frame_figures[f"AP-{name}"] = 100 * ap
    video_figures = {f"mAP@{ious}IOU": 100 * ap for ious, ap in result.video_map.items()}
    return OrderedDict(
        {
            f"frame_ap_{result.protocol}": frame_figures,
            f"video_ap_{result.protocol}": video_figures,
        }
    )
