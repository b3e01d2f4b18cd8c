"""What detection in a video leaves behind: an annotated video, csv, json lines, COCO json."""

from .action_names import action_names_of
from .coco_json import CocoJsonWriter
from .json_lines import JsonLinesWriter
from .prediction_csv import PredictionCsvWriter
from .video_results import VideoOutputs, VideoSummary, write_video_results
from .window import VideoWindow

__all__ = [
    "CocoJsonWriter",
    "JsonLinesWriter",
    "PredictionCsvWriter",
    "VideoOutputs",
    "VideoSummary",
    "VideoWindow",
    "action_names_of",
    "write_video_results",
]
