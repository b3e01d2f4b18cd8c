"""The box head of DETR."""

import torch
from torch import nn


class BoxHead(nn.Module):
    """Three-layer perceptron with a sigmoid: query features -> normalised boxes.

    Args:
        dim: channels C of the queries and the hidden layers.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, 4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) -> (..., 4): (cx, cy, w, h) as fractions of the unpadded clip."""
        for layer in self.layers[:-1]:
            x = layer(x).relu_()
        return self.layers[-1](x).sigmoid()
