"""The box head of DETR, and the box refinement of Deformable DETR."""

from typing import Any

import torch
from torch import nn

from tubedet.layers import PreciseLinear


class BoxHead(nn.Module):
    """Three-layer perceptron: query features -> normalised boxes, absolute or refined.

    Boxes are at least float32, also under autocast: half precision is coarser than a pixel.

    Args:
        dim: channels C of the queries and the hidden layers.
    """

    def __init__(self, dim: int):
        super().__init__()
        hidden = [nn.Linear(dim, dim), nn.Linear(dim, dim)]
        self.layers = nn.ModuleList([*hidden, PreciseLinear(dim, 4)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) -> (..., 4): (cx, cy, w, h) as fractions of the unpadded clip."""
        return self.delta(x).sigmoid()

    def delta(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) -> (..., 4): the boxes before the sigmoid."""
        for layer in self.layers[:-1]:
            x = layer(x).relu_()
        return self.layers[-1](x)

    def refine(self, x: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        """Boxes relative to references, added before the sigmoid.

        Args:
            x: (..., C).
            references: (..., 2) points (x, y), whose boxes get their sizes from the head alone,
                or (..., 4) boxes (cx, cy, w, h); in 0..1.

        Returns:
            (..., 4) cxcywh.
        """
        delta = self.delta(x)
        offset = torch.logit(references.to(delta.dtype), eps=1e-5)
        if references.shape[-1] == 2:
            offset = nn.functional.pad(offset, (0, 2))
        return (delta + offset).sigmoid()

    def start_at_references(self, size_logit: float = 0.0) -> None:
        """Initialise for :meth:`refine`: boxes equal their references at first.

        Args:
            size_logit: width and height before the sigmoid where references are points.
        """
        last: Any = self.layers[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        with torch.no_grad():
            last.bias[2:] = size_logit
