"""Safe loading and saving of weights."""

from .checkpointer import TubedetCheckpointer
from .load_report import LoadReport
from .released_names import to_tubedet_names
from .safe_loading import CheckpointError, load_checkpoint_file
from .tuber_names import to_tuber_names

__all__ = [
    "CheckpointError",
    "LoadReport",
    "TubedetCheckpointer",
    "to_tubedet_names",
    "load_checkpoint_file",
    "to_tuber_names",
]
