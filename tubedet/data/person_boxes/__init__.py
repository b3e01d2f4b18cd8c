"""Files of person boxes, from detectors and trackers, in one form."""

from .formats import FORMATS, read_person_boxes
from .table import PersonBoxes
from .writing import write_person_boxes

__all__ = ["FORMATS", "PersonBoxes", "read_person_boxes", "write_person_boxes"]
