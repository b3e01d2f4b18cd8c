"""Box and action heads."""

from .action_head import ContextActionHead
from .box_head import BoxHead

__all__ = ["BoxHead", "ContextActionHead"]
