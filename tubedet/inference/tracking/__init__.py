"""Persons followed from key frame to key frame, and their boxes on the frames in between."""

from .interpolation import interpolate_persons
from .person_track import PersonTrack
from .person_tracker import PersonTracker
from .possible_boxes import PossibleBoxes
from .tracked_frames import TrackedFrame, tracked_frames

__all__ = [
    "PersonTrack",
    "PersonTracker",
    "PossibleBoxes",
    "TrackedFrame",
    "interpolate_persons",
    "tracked_frames",
]
