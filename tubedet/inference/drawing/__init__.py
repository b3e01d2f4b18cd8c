"""Persons with several actions each, drawn on frames and shown in a window."""

from tubedet.inference.action_names import short_action_names

from .action_visualizer import ActionVisualizer
from .heat import blend_heat, heat_colour
from .window import VideoWindow

__all__ = [
    "ActionVisualizer",
    "VideoWindow",
    "blend_heat",
    "heat_colour",
    "short_action_names",
]
