"""Persons with several actions each, drawn on frames and shown in a window."""

from tubedet.inference.action_names import short_action_names

from .action_visualizer import ActionVisualizer
from .blur import BLURS, blur_persons
from .heat import blend_heat, heat_colour
from .side_by_side import side_by_side
from .window import VideoWindow

__all__ = [
    "BLURS",
    "ActionVisualizer",
    "VideoWindow",
    "blend_heat",
    "blur_persons",
    "heat_colour",
    "short_action_names",
    "side_by_side",
]
