"""Files that detection in a video writes: an annotated video, csv, json lines, COCO json."""

from .annotated_video import AnnotatedVideoWriter
from .coco_json import CocoJsonWriter
from .csv_writer import PredictionCsvWriter
from .json_lines import JsonLinesWriter
from .video_writer import VideoWriter

__all__ = [
    "AnnotatedVideoWriter",
    "CocoJsonWriter",
    "JsonLinesWriter",
    "PredictionCsvWriter",
    "VideoWriter",
]
