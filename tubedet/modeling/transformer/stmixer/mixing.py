"""Mixing of sampled features by matrices that each query makes."""

import torch
from torch import nn

from tubedet.layers import LayerNorm, as_autocast


class AdaptiveMixing(nn.Module):
    """Mix channels, then points, of every group of a query's features, with matrices of the query.

    After MLP-Mixer and AdaMixer (https://arxiv.org/abs/2203.16507), as STMixer uses it.

    Args:
        dim: channels C of the queries.
        groups: G, a divisor of C; a group has c = C / G channels.
        num_points: P, points (or time steps) that come in.
        out_points: those that come out of the second product.
    """

    def __init__(self, dim: int, groups: int, num_points: int, out_points: int):
        super().__init__()
        self.groups, self.channels = groups, dim // groups
        self.num_points, self.out_points = num_points, out_points
        self._sizes = [self.channels**2, num_points * out_points]
        self.parameter_generator = nn.Sequential(nn.Linear(dim, groups * sum(self._sizes)))
        self.out_proj = nn.Linear(groups * out_points * self.channels, dim)
        # Over points and channels together, without weights.
        self.channel_norm = LayerNorm((num_points, self.channels), elementwise_affine=False)
        self.point_norm = LayerNorm((out_points, self.channels), elementwise_affine=False)

    def forward(self, x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        """Mix the features of queries into them.

        Args:
            x: (B, N, G, P, c).
            query: (B, N, C).

        Returns:
            (B, N, C), the residual included.
        """
        numbers = self.parameter_generator(query).unflatten(-1, (self.groups, -1)).flatten(0, 2)
        # Views of the largest tensor here, in one row per group; its gradient is made once, too.
        by_channel, by_point = numbers.split(self._sizes, dim=-1)
        by_channel = by_channel.unflatten(-1, (self.channels, self.channels))
        by_point = by_point.unflatten(-1, (self.out_points, self.num_points))
        y = torch.bmm(as_autocast(x.flatten(0, 2)), by_channel)
        y = torch.bmm(by_point, self.channel_norm(y).relu_())
        y = self.point_norm(y).relu_().unflatten(0, (-1, query.shape[1], self.groups))
        return query + self.out_proj(y.flatten(2))
