"""SlowFast and SlowOnly."""

from .slowfast import SlowFast, build_slowfast_backbone, build_slowfast_lateral_backbone

__all__ = ["SlowFast", "build_slowfast_backbone", "build_slowfast_lateral_backbone"]
