"""Feature pyramids as one sequence of tokens, the input of deformable attention."""

from dataclasses import dataclass

import torch

from tubedet.layers import as_autocast


@dataclass
class LevelTokens:
    """The cells of all levels of a batch of feature pyramids in a row, each level row by row.

    The maps have n axes: rows and columns, or time steps, rows and columns.

    Attributes:
        tokens: (B, S, C), S cells of L levels.
        pos: (B, S, C) position code.
        mask: bool (B, S), True on padded cells.
        shapes: (height, width) or (time, height, width) of each level.
        valid_ratios: float32 (B, L, n), unpadded share of the width, the height and the time.
    """

    tokens: torch.Tensor
    pos: torch.Tensor
    mask: torch.Tensor
    shapes: list[tuple[int, ...]]
    valid_ratios: torch.Tensor

    @classmethod
    def from_maps(
        cls,
        maps: list[torch.Tensor],
        positions: list[torch.Tensor],
        masks: list[torch.Tensor],
        level_embed: torch.Tensor,
    ) -> "LevelTokens":
        """Flatten a pyramid.

        Args:
            maps: per level (B, C, H_l, W_l) or (B, C, T_l, H_l, W_l).
            positions: their position codes, likewise.
            masks: likewise, bool and without channels, True on padded cells.
            level_embed: (L, C), added to the position codes.
        """
        pos = [
            position.to(level_embed.dtype).flatten(2).transpose(1, 2) + embed
            for position, embed in zip(positions, level_embed)
        ]
        return cls(
            tokens=as_autocast(torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)),
            pos=as_autocast(torch.cat(pos, dim=1)),
            mask=torch.cat([mask.flatten(1) for mask in masks], dim=1),
            shapes=[tuple(x.shape[2:]) for x in maps],
            valid_ratios=torch.stack([_valid_ratios(mask) for mask in masks], dim=1),
        )

    def centres(self) -> torch.Tensor:
        """(x, y) or (x, y, t) of every centre, fractions of the unpadded clips: (B, S, n)."""
        centres = []
        for shape, ratio in zip(self.shapes, self.valid_ratios.unbind(1)):
            lines = [
                torch.arange(side, device=ratio.device, dtype=torch.float32) + 0.5 for side in shape
            ]
            cells = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1], dim=-1)
            sides = [ratio.new_full((), side) for side in reversed(shape)]
            # In this order, because released models know these numbers to the last bit.
            centres.append(cells.view(-1, len(shape)) / (ratio * torch.stack(sides))[:, None])
        return torch.cat(centres, dim=1)

    def on_every_level(self, references: torch.Tensor) -> torch.Tensor:
        """Points or boxes as fractions of the unpadded images -> of the padded map of each level.

        Args:
            references: points (B, N, n), or boxes (B, N, 4) in an image.

        Returns:
            (B, N, L, n or 4).
        """
        repeats = references.shape[-1] // self.valid_ratios.shape[-1]
        return references[:, :, None] * self.valid_ratios.repeat(1, 1, repeats)[:, None]


def _valid_ratios(mask: torch.Tensor) -> torch.Tensor:
    """Share (B, n) of the valid cells in the first line of each axis, the last axis first."""
    ratios = []
    for axis in range(mask.dim() - 1, 0, -1):
        line = ~mask
        for other in range(mask.dim() - 1, 0, -1):
            line = line if other == axis else line.select(other, 0)
        ratios.append(line.sum(1) / line.shape[1])
    return torch.stack(ratios, dim=-1)
