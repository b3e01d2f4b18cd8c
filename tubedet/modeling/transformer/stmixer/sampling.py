"""Features at points that queries choose in space and in scale."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F


def sampling_points(offsets: torch.Tensor, state: torch.Tensor, sides: torch.Tensor):
    """Return the points (B, N, G, P, 3) of queries: (x, y) in pixels and the scale.

    Args:
        offsets: (B, N, G, P, 3), in sides of the box and levels.
        state: (B, N, 4), see :mod:`.box_state`.
        sides: (B, N, 2), width and height of the boxes.
    """
    step = F.pad(sides, (0, 1), value=1.0)
    return torch.addcmul(state[:, :, None, None, :3], offsets, step[:, :, None, None])


def level_weights(scale: torch.Tensor, num_levels: int, first_centre: float) -> torch.Tensor:
    """Return how much each of L levels counts (..., L): a softmax of squared distances in scale.

    Args:
        scale: (...), z of the points.
        num_levels: L.
        first_centre: z at which the finest level counts most; that of every coarser one is 1 more.
    """
    centres = torch.arange(num_levels, dtype=scale.dtype, device=scale.device) + first_centre
    return (-((scale[..., None] - centres) ** 2) / 2).softmax(-1)


def sample_maps(
    maps: Sequence[torch.Tensor],
    points: torch.Tensor,
    padded_sides: torch.Tensor,
    first_centre: float,
) -> torch.Tensor:
    """Read maps bilinearly at the same points of all time steps; outside of them is zero.

    Args:
        maps: per level (B, C, T, h, w), float32 at least, each of the whole padded clip.
        points: (B, N, G, P, 3), see :func:`sampling_points`; group g reads the g-th C / G channels.
        padded_sides: (2,), width and height of the padded clips in pixels.
        first_centre: see :func:`level_weights`.

    Returns:
        (B, G, C / G, T, N, P).
    """
    groups, steps = points.shape[2], maps[0].shape[2]
    points = points.transpose(1, 2)
    grid = (2 * points[..., :2] / padded_sides - 1).flatten(0, 1)
    weights = level_weights(points[..., 2], len(maps), first_centre)
    gathered: Any = 0
    for level, weight in zip(maps, weights.unbind(-1), strict=True):
        # Neither side of this is a copy: steps are channels of a 2-D map.
        by_group = level.unflatten(1, (groups, -1)).flatten(0, 1).flatten(1, 2)
        sampled = F.grid_sample(by_group, grid, align_corners=False)
        gathered = gathered + sampled.unflatten(0, (-1, groups)) * weight[:, :, None]
    return gathered.unflatten(2, (-1, steps))
