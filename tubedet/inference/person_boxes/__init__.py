"""Where the video detector gets person boxes from, for models that need them."""

from .detected_persons import DetectedPersons
from .file_boxes import FileBoxes, as_box_source
from .onnx_detector import OnnxPersons
from .sources import ImageDetector, PersonBoxSource, PersonsAt
from .torchvision_detector import TorchvisionPersons

__all__ = [
    "DetectedPersons",
    "FileBoxes",
    "ImageDetector",
    "OnnxPersons",
    "PersonBoxSource",
    "PersonsAt",
    "TorchvisionPersons",
    "as_box_source",
]
