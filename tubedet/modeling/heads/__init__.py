"""Box, action and dynamic heads."""

from .action_head import ContextActionHead, heads_of_layers, set_prior
from .box_head import BoxHead
from .dynamic_head import DynamicHead

__all__ = ["BoxHead", "ContextActionHead", "DynamicHead", "heads_of_layers", "set_prior"]
