"""The channel-separated network and how it is executed on a CPU."""

from .csn import CSN, ClipShapeSpec, build_csn_backbone

__all__ = ["CSN", "ClipShapeSpec", "build_csn_backbone"]
