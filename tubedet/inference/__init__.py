"""A video in, results out: detection, tracks, drawing, and the files that are written."""

from typing import TYPE_CHECKING, Any

from .action_intervals import ActionInterval
from .action_names import action_names_of
from .attention import attention_in_frame
from .detected_video import DetectedVideo
from .video_detector import DetectedFrame, KeyFrameResult, VideoActionDetector
from .whole_video import VideoResult

if TYPE_CHECKING:
    from .video_results import DrawingOptions, VideoOutputs, VideoSummary, write_video_results

__all__ = [
    "ActionInterval",
    "DetectedFrame",
    "DetectedVideo",
    "DrawingOptions",
    "KeyFrameResult",
    "VideoActionDetector",
    "VideoOutputs",
    "VideoResult",
    "VideoSummary",
    "action_names_of",
    "attention_in_frame",
    "write_video_results",
]


def __getattr__(name: str) -> Any:
    """Import what draws, and so needs matplotlib, when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import video_results

    return getattr(video_results, name)
