"""Data sets, video reading, augmentation and the dataset mapper; importing it registers names."""

from .annotations.ava_csv import AnnotationError
from .annotations.tube_files import ActionTube
from .dataset_mapper import AVADatasetMapper, ClipDatasetMapper
from .datasets import builtin  # noqa: F401  (registers the data sets)
from .datasets.action_tubes import register_action_tubes
from .datasets.ava import AVAFiles, load_ava, register_ava
from .datasets.custom import ensure_registered
from .video.reader import VideoError, open_video

__all__ = [
    "AVADatasetMapper",
    "ClipDatasetMapper",
    "AVAFiles",
    "ActionTube",
    "AnnotationError",
    "VideoError",
    "ensure_registered",
    "load_ava",
    "open_video",
    "register_action_tubes",
    "register_ava",
]
