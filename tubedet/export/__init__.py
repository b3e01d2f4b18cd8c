"""Detectors as files that run without tubedet."""

from .box_program import BoxProgram
from .clip_program import ClipProgram
from .deployment_record import deployment_record
from .export_errors import ExportError
from .file_formats import FORMATS
from .trace import ClipShape, trace_detector
from .verification import Deviation, compare, verification_shapes

__all__ = [
    "FORMATS",
    "BoxProgram",
    "ClipProgram",
    "ClipShape",
    "Deviation",
    "ExportError",
    "compare",
    "deployment_record",
    "trace_detector",
    "verification_shapes",
]
