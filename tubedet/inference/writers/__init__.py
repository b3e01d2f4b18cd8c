"""Files that detection in a video writes: an annotated video, tables, json lines, COCO json."""

from .annotated_video import AnnotatedVideoWriter
from .coco_json import CocoJsonWriter
from .csv_writer import PredictionCsvWriter
from .events_csv import EventsCsvWriter
from .json_lines import JsonLinesWriter
from .video_writer import VideoWriter

__all__ = [
    "AnnotatedVideoWriter",
    "CocoJsonWriter",
    "EventsCsvWriter",
    "JsonLinesWriter",
    "PredictionCsvWriter",
    "VideoWriter",
]
