"""Data sets, video reading, augmentation and the dataset mapper; importing it registers names."""

from . import builtin  # noqa: F401  (registers the data sets)
from .action_tubes import register_action_tubes
from .ava import AVAFiles, load_ava, register_ava
from .ava_annotations import AnnotationError
from .dataset_mapper import AVADatasetMapper
from .own_data import ensure_registered
from .tube_annotations import ActionTube
from .video_reader import VideoError, open_video

__all__ = [
    "AVADatasetMapper",
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
