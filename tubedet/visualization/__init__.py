"""Drawing of persons with several actions each, and writing of the drawn frames as video."""

from .action_visualizer import ActionVisualizer, short_action_names
from .video_writer import VideoWriter

__all__ = ["ActionVisualizer", "VideoWriter", "short_action_names"]
