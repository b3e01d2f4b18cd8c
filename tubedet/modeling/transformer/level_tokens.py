"""Feature pyramids as one sequence of tokens, the input of deformable attention."""

from dataclasses import dataclass

import torch

from tubedet.layers import as_autocast


@dataclass
class LevelTokens:
    """The cells of all levels of a batch of feature pyramids in a row, each level row by row.

    Attributes:
        tokens: (B, S, C), S cells of L levels.
        pos: (B, S, C) position code.
        mask: bool (B, S), True on padded cells.
        shapes: (height, width) of each level.
        valid_ratios: float32 (B, L, 2), unpadded share of the width and of the height.
    """

    tokens: torch.Tensor
    pos: torch.Tensor
    mask: torch.Tensor
    shapes: list[tuple[int, int]]
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
            maps: per level (B, C, H_l, W_l).
            positions: their position codes, likewise.
            masks: per level bool (B, H_l, W_l), True on padded cells.
            level_embed: (L, C), added to the position codes.
        """
        pos = [
            position.to(level_embed.dtype).flatten(2).transpose(1, 2) + embed
            for position, embed in zip(positions, level_embed)
        ]
        ratios = [
            torch.stack((_share(~mask[:, 0]), _share(~mask[:, :, 0])), dim=-1) for mask in masks
        ]
        return cls(
            tokens=as_autocast(torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)),
            pos=as_autocast(torch.cat(pos, dim=1)),
            mask=torch.cat([mask.flatten(1) for mask in masks], dim=1),
            shapes=[(x.shape[-2], x.shape[-1]) for x in maps],
            valid_ratios=torch.stack(ratios, dim=1),
        )

    def centres(self) -> torch.Tensor:
        """(x, y) of every cell's centre as fractions of the unpadded images: (B, S, 2)."""
        centres = []
        for (height, width), ratio in zip(self.shapes, self.valid_ratios.unbind(1)):
            y, x = torch.meshgrid(
                (torch.arange(height, device=ratio.device, dtype=torch.float32) + 0.5) / height,
                (torch.arange(width, device=ratio.device, dtype=torch.float32) + 0.5) / width,
                indexing="ij",
            )
            centres.append(torch.stack((x, y), dim=-1).flatten(0, 1) / ratio[:, None])
        return torch.cat(centres, dim=1)

    def on_every_level(self, references: torch.Tensor) -> torch.Tensor:
        """Points or boxes as fractions of the unpadded images -> of the padded map of each level.

        Args:
            references: (B, N, 2) or (B, N, 4).

        Returns:
            (B, N, L, 2 or 4).
        """
        repeats = references.shape[-1] // 2
        return references[:, :, None] * self.valid_ratios.repeat(1, 1, repeats)[:, None]


def _share(cells: torch.Tensor) -> torch.Tensor:
    """Share (B,) of the True cells of bool lines (B, N)."""
    return cells.sum(1) / cells.shape[1]
