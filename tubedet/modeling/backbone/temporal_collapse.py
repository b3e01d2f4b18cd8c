"""From the time steps of a feature pyramid to one, by convolutions."""

from collections.abc import Sequence

import torch
from torch import nn

from tubedet.errors import UserError
from tubedet.layers import get_norm_3d


class TemporalCollapse(nn.ModuleList):
    """Temporal convolutions without padding that leave one step of every level.

    As in the published Deformable TubeR: convolutions over t / 2 + 1 steps halve the t steps of a
    level until it has those of the last level, which one more convolution over all of them joins.
    Each is followed by a norm and by no activation. Entry l of the list belongs to level l.

    Args:
        dim: channels C.
        num_steps: steps T_l of each level.
        norm: see :func:`get_norm_3d`.

    Raises:
        UserError: if the steps of a level are not those of the last one times a power of two.
    """

    def __init__(self, dim: int, num_steps: Sequence[int], norm: str):
        super().__init__(
            nn.Sequential(*(_block(dim, k, norm) for k in _kernels(steps, num_steps[-1])))
            for steps in num_steps
        )
        self.num_steps = tuple(num_steps)

    def forward(self, levels: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Collapse the levels.

        Args:
            levels: per level (B, T_l, C, H_l, W_l).

        Returns:
            per level (B, C, H_l, W_l).

        Raises:
            UserError: for levels with other numbers of steps than announced.
        """
        num_steps = tuple(x.shape[1] for x in levels)
        if num_steps != self.num_steps:
            raise UserError(
                f"the clip gives levels of {num_steps} time steps, but the model was built for "
                f"{self.num_steps}: INPUT.CLIP.NUM_FRAMES must be the clip's number of frames"
            )
        return [collapse(x.transpose(1, 2))[:, :, 0] for collapse, x in zip(self, levels)]


def _block(dim: int, kernel: int, norm: str) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(dim, dim, (kernel, 1, 1)), get_norm_3d(norm, dim, eps=1e-5))


def _kernels(steps: int, last_steps: int) -> list[int]:
    """Temporal kernels for a level of ``steps`` steps."""
    kernels, remaining = [], steps
    while remaining > last_steps and remaining % 2 == 0:
        kernels.append(remaining // 2 + 1)
        remaining //= 2
    if remaining != last_steps:
        raise UserError(
            f"a feature level has {steps} time steps, which is not the {last_steps} of the last "
            "level times a power of two; choose another INPUT.CLIP.NUM_FRAMES (a multiple of 8 "
            "with the published strides of a CSN) or MODEL.CSN.TEMPORAL_STRIDES"
        )
    return [*kernels, last_steps]
