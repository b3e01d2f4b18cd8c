"""Safe loading and saving of weights."""

from .checkpointer import TubedetCheckpointer
from .load_report import LoadReport
from .safe_loading import CheckpointError, load_checkpoint_file

__all__ = ["CheckpointError", "LoadReport", "TubedetCheckpointer", "load_checkpoint_file"]
