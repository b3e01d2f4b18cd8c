"""The parameters of a ViT by their names, with nothing to compute."""

import torch
from torch import nn


def vit_skeleton(*, depth: int, width: int = 2, positions: bool = True) -> nn.Module:
    """A ViT with LayerScale and, if asked for, a learned position table."""
    vit = nn.Module()
    if positions:
        vit.pos_embed = nn.Parameter(torch.zeros(1, 3, width))
    vit.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(3, width, 1)})
    vit.blocks = nn.ModuleList()
    for _ in range(depth):
        block = nn.Module()
        block.gamma_1 = nn.Parameter(torch.ones(width))
        block.norm1 = nn.LayerNorm(width)
        vit.blocks.append(block)
    vit.norm = nn.LayerNorm(width)
    return vit
