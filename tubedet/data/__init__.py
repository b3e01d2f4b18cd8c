"""Data sets, video reading, augmentation and the dataset mapper; importing it registers names."""

from . import builtin  # noqa: F401  (registers the data sets)
from .ava import AVAFiles, load_ava, register_ava
from .ava_annotations import AnnotationError
from .dataset_mapper import AVADatasetMapper
from .video_reader import VideoError, open_video

__all__ = [
    "AVADatasetMapper",
    "AVAFiles",
    "AnnotationError",
    "VideoError",
    "load_ava",
    "open_video",
    "register_ava",
]
