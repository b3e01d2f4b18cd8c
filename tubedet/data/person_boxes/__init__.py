"""Files of person boxes, from detectors and trackers, in one form."""

from .formats import FORMATS, read_person_boxes
from .table import PersonBoxes

__all__ = ["FORMATS", "PersonBoxes", "read_person_boxes"]
