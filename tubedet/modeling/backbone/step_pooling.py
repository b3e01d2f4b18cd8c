"""From the time steps of a backbone map to a common, smaller number of steps."""

import torch
import torch.nn.functional as F
from torch import nn

from tubedet.errors import UserError


class StepPooling(nn.Module):
    """Average (B, C, T, H, W) maps over windows around every r-th of their T steps.

    CSN centres step k of a map with temporal stride s on frame s·k. The windows keep that: output
    step k is the mean of the steps at most r/2 away from step r·k, r = T / T', so maps of
    different T agree in time afterwards and the key frame (step T // 2) becomes step T' // 2. At
    the ends of the clip a window holds only the steps that exist. A step of a ViT stands for the
    frames from s·k to s·k + s - 1, among which the key frame is the first.

    Args:
        num_steps: T'. Maps with as many steps are returned as they are.
        key: the config key that says so, for messages.

    Raises:
        UserError: if ``num_steps`` is not positive.
    """

    def __init__(self, num_steps: int, key: str = "MODEL.SEQFORMER.NUM_STEPS"):
        super().__init__()
        if num_steps < 1:
            raise UserError(f"{key} is {num_steps}; it must be at least 1")
        self.key = key
        self.num_steps = num_steps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C, T', H, W).

        Raises:
            UserError: if T is not a multiple of T'.
        """
        if x.shape[2] % self.num_steps:
            raise UserError(
                f"a backbone map has {x.shape[2]} time steps, which {self.key} "
                f"{self.num_steps} does not divide; change it, INPUT.CLIP.NUM_FRAMES or "
                "MODEL.CSN.TEMPORAL_STRIDES, or MODEL.VIT.TUBELET of a ViT"
            )
        ratio = x.shape[2] // self.num_steps
        if ratio == 1:
            return x
        half = ratio // 2
        return F.avg_pool3d(
            x,
            (2 * half + 1, 1, 1),
            stride=(ratio, 1, 1),
            padding=(half, 0, 0),
            count_include_pad=False,
        )
