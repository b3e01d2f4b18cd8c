"""From an encoded video pyramid to maps of single frames on one grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from tubedet.errors import UserError
from tubedet.modeling.transformer.level_tokens import LevelTokens

WAYS = ("published", "right")


@dataclass
class FrameMemory:
    """What the decoder reads of N frames of all clips of a batch.

    Attributes:
        maps: (N, L, S, C), the S cells of L levels row by row, all on one grid.
        pos: (N, S, C), their position code.
        mask: bool (N, S), True on padded cells.
        shape: height and width of the grid.
    """

    maps: torch.Tensor
    pos: torch.Tensor
    mask: torch.Tensor
    shape: tuple[int, int]


def interpolation_matrix(
    size: int, num_samples: int, positions: str, device: torch.device | None = None
) -> torch.Tensor:
    """Return the weights with which evenly spaced samples read a line of cells linearly.

    Args:
        size: cells of the line.
        num_samples: samples, from one end of the line to the other.
        positions: "right": the ends are the centres of the outer cells. "published": they are the
            outer borders of these cells. There is nothing outside, so these samples get half.
        device: where it is computed.

    Returns:
        float64 (num_samples, size).
    """
    # Not linspace, whose length an exporter takes for a constant.
    share = torch.arange(num_samples, dtype=torch.float64, device=device)[:, None]
    last: Any = torch.sym_max(num_samples - 1, 1)
    share = share / last
    cells = torch.arange(size, device=device)
    return (1 - (_place(share, size, positions) - cells).abs()).clamp(min=0)


def _place(share: Any, size: int, positions: str) -> Any:
    """Shares of a line, 0 .. 1, in cells: 0 is the centre of the first one."""
    return share * size - 0.5 if positions == "published" else share * (size - 1)


class FrameGrid:
    """Resamples all levels to frames of the clip, each on the grid of one level.

    All that it needs is computed where the maps are: a GPU waits for no copy, and can record it.

    Args:
        level: index of that level; published: 2, of stride 16.
        positions: where frames, rows and columns of the grid are, see
            :func:`interpolation_matrix`.
        time_code: which time step of that level gives a frame its position code. "right":
            that of its time. "published": frame j gets step j modulo the number of steps. That
            makes a difference in padded clips only.

    Raises:
        UserError: for an unknown way.
    """

    def __init__(self, level: int = 2, positions: str = "published", time_code: str = "published"):
        for key, way in (("GRID_POSITIONS", positions), ("TIME_CODE", time_code)):
            if way not in WAYS:
                raise UserError(f"MODEL.CLASS_QUERY.{key} is {way!r}; choose one of {WAYS}")
        self.level = level
        self.positions = positions
        self.time_code = time_code

    def wanted_cells(
        self,
        shapes: list[tuple[int, ...]],
        num_frames: int,
        frames: list[int],
        device: torch.device | None = None,
    ) -> torch.Tensor:
        """Return which cells of a pyramid in a row :meth:`resample` will read.

        Args:
            shapes: (time, height, width) of each level.
            num_frames: frames T of the clip.
            frames: those that are wanted.
            device: where the numbers are computed.

        Returns:
            int64 (N,).
        """
        cells, start = [], 0
        for time, height, width in shapes:
            steps = self._time_steps(time, num_frames, frames)
            plane, first = height * width, start + steps.start * height * width
            cells.append(torch.arange(len(steps) * plane, device=device) + first)
            start += time * plane
        return torch.cat(cells)

    def resample(
        self, cells: torch.Tensor, levels: LevelTokens, num_frames: int, frames: list[int]
    ) -> FrameMemory:
        """Make maps of frames.

        Args:
            cells: (B, N, C), those of :meth:`wanted_cells`, encoded.
            levels: what they were made from.
            num_frames: frames T of the clip.
            frames: the F frames that are wanted.

        Returns:
            memory of B · F frames, the frames of a clip one after the other.
        """
        shapes: Any = levels.shapes
        num_steps, *grid = shapes[self.level]
        maps, start = [], 0
        for time, height, width in shapes:
            steps = self._time_steps(time, num_frames, frames)
            sides = zip((time, height, width), (num_frames, *grid))
            by_time, by_row, by_column = (
                interpolation_matrix(side, samples, self.positions, cells.device)
                for side, samples in sides
            )
            in_time = _rows(by_time[:, steps.start : steps.stop], frames)
            number = len(steps) * height * width
            x = cells[:, start : start + number].unflatten(1, (len(steps), height, width))
            start += number
            in_time, by_row, by_column = (
                matrix.to(x.dtype) for matrix in (in_time, by_row, by_column)
            )
            x = by_column @ x  # (B, steps, height, grid width, C)
            x = by_row @ x.flatten(3)
            maps.append((in_time @ x.flatten(2)).unflatten(-1, (math.prod(grid), -1)))
        memory = torch.stack(maps, dim=2).flatten(0, 1)
        codes = [
            frame % num_steps if self.time_code == "published" else frame * num_steps // num_frames
            for frame in frames
        ]
        first = sum(math.prod(shape) for shape in shapes[: self.level])
        own = slice(first, first + math.prod(shapes[self.level]))
        pos, mask = (
            _rows(x[:, own].unflatten(1, (num_steps, -1)).transpose(0, 1), codes)
            .transpose(0, 1)
            .flatten(0, 1)
            for x in (levels.pos, levels.mask)
        )
        return FrameMemory(memory, pos, mask, (grid[0], grid[1]))

    def _time_steps(self, time, num_frames, frames):
        """Return the range of steps that frames read."""
        # As interpolation_matrix, but in numbers: an exporter cannot look into tensors.
        places = [_place(f / max(num_frames - 1, 1), time, self.positions) for f in frames]
        steps = [t for t in range(time) if any(abs(place - t) < 1 for place in places)]
        return range(steps[0], steps[-1] + 1)


def _rows(x: torch.Tensor, numbers: list[int]) -> torch.Tensor:
    """Return some rows of a tensor; a list as an index would have to be copied to a GPU."""
    return torch.stack([x[number] for number in numbers])
