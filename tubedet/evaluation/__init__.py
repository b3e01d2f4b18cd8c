"""Evaluation of spatio-temporal action detection."""

from .ava_evaluator import AVAEvaluator
from .ava_protocol import AVA_PROTOCOLS, AvaResult, evaluate_ava, evaluate_ava_files
from .detection_ap import average_precision, match_detections, paired_iou, precision_recall
from .report import result_table, result_to_dict, write_result_json

__all__ = [
    "AVA_PROTOCOLS",
    "AVAEvaluator",
    "AvaResult",
    "average_precision",
    "evaluate_ava",
    "evaluate_ava_files",
    "match_detections",
    "paired_iou",
    "precision_recall",
    "result_table",
    "result_to_dict",
    "write_result_json",
]
