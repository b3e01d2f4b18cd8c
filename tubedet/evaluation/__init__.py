"""Evaluation of spatio-temporal action detection."""

from .action_tube_evaluator import ActionTubeEvaluator
from .action_tube_groundtruth import ActionTubeGroundtruth, load_action_tube_groundtruth
from .action_tube_protocol import (
    TUBE_PROTOCOLS,
    ActionTubeResult,
    action_tube_result,
    evaluate_action_tubes,
    match_action_tubes,
)
from .action_tube_report import tube_result_table, tube_result_to_dict, write_tube_result_json
from .ava_evaluator import AVAEvaluator
from .ava_protocol import AVA_PROTOCOLS, AVAResult, evaluate_ava
from .ava_report import result_table, result_to_dict, write_result_json
from .comparability import EvaluationError
from .detection_ap import average_precision, match_detections, paired_iou, precision_recall
from .prediction_csv import read_tube_predictions
from .tube_linking import link_detections
from .video_ap import DetectedTube, suppress_tubes, tube_iou, video_average_precisions

__all__ = [
    "AVA_PROTOCOLS",
    "TUBE_PROTOCOLS",
    "AVAEvaluator",
    "ActionTubeEvaluator",
    "ActionTubeGroundtruth",
    "ActionTubeResult",
    "AVAResult",
    "DetectedTube",
    "EvaluationError",
    "action_tube_result",
    "average_precision",
    "evaluate_action_tubes",
    "evaluate_ava",
    "link_detections",
    "load_action_tube_groundtruth",
    "match_action_tubes",
    "match_detections",
    "paired_iou",
    "precision_recall",
    "read_tube_predictions",
    "result_table",
    "result_to_dict",
    "suppress_tubes",
    "tube_iou",
    "tube_result_table",
    "tube_result_to_dict",
    "video_average_precisions",
    "write_result_json",
    "write_tube_result_json",
]
