"""Data sets, video reading, augmentation and the dataset mapper; importing it registers names."""

from tubedet.data.annotations.ava_csv import AnnotationError
from tubedet.data.annotations.tube_files import ActionTube
from tubedet.data.datasets.action_tubes import register_action_tubes
from tubedet.data.datasets.ava import AVAFiles, load_ava, register_ava
from tubedet.data.datasets.custom import ensure_registered
from tubedet.data.video.reader import VideoError, open_video

from .dataset_mapper import AVADatasetMapper, ClipDatasetMapper
from .datasets import builtin  # noqa: F401  (registers the data sets)

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
