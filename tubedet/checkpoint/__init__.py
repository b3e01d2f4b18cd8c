"""Safe loading and saving of weights."""

from .checkpointer import TubedetCheckpointer
from .class_query_names import to_class_query_names
from .load_report import LoadReport
from .released_names import to_tubedet_names
from .safe_loading import CheckpointError, load_checkpoint_file
from .tuber_names import to_tuber_names
from .vit_names import to_videomae_names

__all__ = [
    "CheckpointError",
    "LoadReport",
    "TubedetCheckpointer",
    "load_checkpoint_file",
    "to_class_query_names",
    "to_tubedet_names",
    "to_tuber_names",
    "to_videomae_names",
]
