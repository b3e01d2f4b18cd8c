"""A video in, results out: detection, tracks, drawing, and the files that are written."""

from .action_names import action_names_of
from .video_detector import DetectedFrame, KeyFrameResult, VideoActionDetector
from .video_results import VideoOutputs, VideoSummary, write_video_results

__all__ = [
    "DetectedFrame",
    "KeyFrameResult",
    "VideoActionDetector",
    "VideoOutputs",
    "VideoSummary",
    "action_names_of",
    "write_video_results",
]
