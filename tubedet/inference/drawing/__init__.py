"""Persons with several actions each, drawn on frames and shown in a window."""

from .action_visualizer import ActionVisualizer, short_action_names
from .window import VideoWindow

__all__ = ["ActionVisualizer", "VideoWindow", "short_action_names"]
