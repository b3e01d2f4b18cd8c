"""Architectures in detectron2's META_ARCH_REGISTRY."""

from .tuber import TubeR

__all__ = ["TubeR"]
