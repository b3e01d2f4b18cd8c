"""Video vision transformers and the 3-D feature pyramid on them."""

from .pyramid import ViTPyramid, build_vit_pyramid_2d_backbone, build_vit_pyramid_backbone
from .vit import SIZES, ViT, build_vit_backbone

__all__ = [
    "SIZES",
    "ViT",
    "ViTPyramid",
    "build_vit_backbone",
    "build_vit_pyramid_2d_backbone",
    "build_vit_pyramid_backbone",
]
