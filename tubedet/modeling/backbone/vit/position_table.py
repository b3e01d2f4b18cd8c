"""The position table of a video ViT, for clips of any size and length.

The table is made for frames of 224 x 224 pixels, where a frame has g x g tokens, and resized to any
other grid, as MCG-NJU/STMixer and MCG-NJU/VideoMAE-Action-Detection do. A table that is made anew
for another number of tokens is another one: it numbers the tokens, not their places.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from tubedet.layers import without_autocast

# Side of the frames for which tables are made.
PRETRAINED_SIDE = 224
# Coefficient of the bicubic kernel in torch.nn.functional.interpolate.
_BICUBIC = -0.75

# From places between cells to the neighbours that count: their indices and weights.
Taps = Callable[[torch.Tensor], list[tuple[torch.Tensor, torch.Tensor]]]


def sine_table(num_steps: int, grid: int, dim: int) -> torch.Tensor:
    """Return the sine and cosine code of the token number n = (step * g + row) * g + column.

    Channel j is sin(n / 10000^(2 * floor(j / 2) / D)) for even j, and the cosine of the same for
    odd j; computed in float64.

    Args:
        num_steps: time steps t.
        grid: g, tokens in a row and in a column.
        dim: D.

    Returns:
        float32 (t, g, g, D).
    """
    numbers = torch.arange(num_steps * grid * grid, dtype=torch.float64)
    pairs = torch.arange(dim, dtype=torch.float64).div(2, rounding_mode="floor")
    angles = numbers[:, None] / 10000.0 ** (2 * pairs / dim)
    is_even = torch.arange(dim) % 2 == 0
    table = torch.where(is_even, angles.sin(), angles.cos())
    return table.float().view(num_steps, grid, grid, dim)


def resize_table(table: torch.Tensor, num_steps: int, height: int, width: int) -> torch.Tensor:
    """Resize a table in space by bicubic, then in time by linear interpolation.

    Both are without ``align_corners`` and antialiasing.

    Args:
        table: (t', g, g, D).
        num_steps: t.
        height: h; it may be the free size of a program that is being traced.
        width: w; likewise.

    Returns:
        float32 (t, h, w, D), or float64 for a table in float64.
    """
    with without_autocast(table.device):
        if table.dtype != torch.float64:
            table = table.float()
        if isinstance(height, int) and isinstance(width, int):
            maps = table.permute(0, 3, 1, 2)
            maps = F.interpolate(maps, (height, width), mode="bicubic", align_corners=False)
            table = maps.permute(0, 2, 3, 1)
        else:
            # Exporters have no bicubic operator for free sizes, but they can gather.
            table = _resample(table, 2, width, _cubic_taps)
            table = _resample(table, 1, height, _cubic_taps)
        if num_steps != table.shape[0]:
            table = _resample(table, 0, num_steps, _linear_taps)
    return table


def _resample(table: torch.Tensor, axis: int, size: int, taps: Taps) -> torch.Tensor:
    """Sum weighted neighbours of the source place of each of ``size`` cells along an axis."""
    length = table.shape[axis]
    # Filled, not written into the formula: an exporter then keeps a free size free.
    scale = length / table.new_full((), size, dtype=torch.float64)
    place = (torch.arange(size, device=table.device) + 0.5).double() * scale - 0.5
    shape = [1] * table.dim()
    shape[axis] = -1
    parts = [
        table.index_select(axis, index.long().clamp(0, length - 1))
        * weight.to(table.dtype).view(shape)
        for index, weight in taps(place)
    ]
    return torch.stack(parts).sum(0)


def _cubic_taps(place: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return indices and weights of the four neighbours of each place."""
    a, start = _BICUBIC, place.floor()
    rest = place - start

    def near(x: torch.Tensor) -> torch.Tensor:  # at most 1 away
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: torch.Tensor) -> torch.Tensor:  # 1 to 2 away
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    weights = (far(rest + 1), near(rest), near(1 - rest), far(2 - rest))
    return [(start + offset, weight) for offset, weight in zip((-1, 0, 1, 2), weights)]


def _linear_taps(place: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return indices and weights of the two neighbours of each place."""
    place = place.clamp(min=0)
    start = place.floor()
    return [(start, 1 - (place - start)), (start + 1, place - start)]
