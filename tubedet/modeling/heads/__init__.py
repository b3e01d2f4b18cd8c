"""Box, action and dynamic heads, and that of given boxes."""

from .action_head import ContextActionHead, heads_of_layers, set_prior
from .box_head import BoxHead
from .dynamic_head import DynamicHead
from .roi_action_head import RoIActionHead

__all__ = [
    "BoxHead",
    "ContextActionHead",
    "DynamicHead",
    "RoIActionHead",
    "heads_of_layers",
    "set_prior",
]
