"""The maps of a CNN at one width and one number of time steps, without a path from coarse to fine.

As MCG-NJU/STMixer brings the stages of its trunks to one width.
"""

import torch
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn

from tubedet.errors import UserError

from .csn import ClipShapeSpec, build_csn_backbone
from .step_pooling import StepPooling

_KEY = "MODEL.STMIXER.NUM_STEPS"


class LateralPyramid(Backbone):
    """Every map of a video backbone pooled in time and projected by a 1x1x1 convolution.

    The maps are called p2, p3, ... from fine to coarse.

    Args:
        body: returns 5-D maps; its ``output_shape`` has temporal strides.
        out_channels: channels C of all maps.
        num_steps: time steps T' of all maps, see :class:`StepPooling`.
        num_frames: frames of a clip, T; gives the temporal stride.

    Raises:
        UserError: if T' does not divide the steps of the maps.
    """

    def __init__(self, body: Backbone, out_channels: int, num_steps: int, num_frames: int):
        super().__init__()
        self.body = body
        self.pooling = StepPooling(num_steps, _KEY)
        shapes = body.output_shape()
        self.lateral_convs = nn.ModuleList(
            nn.Conv3d(shape.channels, out_channels, 1) for shape in shapes.values()
        )
        for conv in self.lateral_convs:
            nn.init.kaiming_uniform_(conv.get_parameter("weight"), a=1)
            nn.init.zeros_(conv.get_parameter("bias"))
        if num_frames % num_steps:
            raise UserError(
                f"{_KEY} is {num_steps}, which does not divide the {num_frames} frames of "
                "INPUT.CLIP.NUM_FRAMES"
            )
        self._shapes = {
            f"p{index}": ClipShapeSpec(out_channels, shape.stride, num_frames // num_steps)
            for index, shape in enumerate(shapes.values(), start=2)
        }

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Clips (B, 3, T, H, W) -> {level: (B, C, T', H / stride, W / stride)}.

        Raises:
            UserError: if T' does not divide the steps of a map.
        """
        maps = self.body(x).values()
        # Pooled first: there is less to project then, and the result is the same.
        levels = [conv(self.pooling(y)) for conv, y in zip(self.lateral_convs, maps, strict=True)]
        return dict(zip(self._shapes, levels))

    def output_shape(self) -> dict[str, ClipShapeSpec]:  # type: ignore[override]
        """Channels and strides of the maps."""
        return dict(self._shapes)

    @property
    def size_divisibility(self) -> int:
        """What the sides of clips are padded to a multiple of: no cell is cut."""
        return max(shape.stride for shape in self._shapes.values())


@BACKBONE_REGISTRY.register()
def build_csn_lateral_backbone(cfg, input_shape=None) -> LateralPyramid:
    """Build p2, p3, ... over ``MODEL.CSN.OUT_FEATURES``, of ``MODEL.FPN.OUT_CHANNELS`` channels.

    They have ``MODEL.STMIXER.NUM_STEPS`` time steps.

    Raises:
        UserError: if these do not divide the frames of a clip.
    """
    return LateralPyramid(
        build_csn_backbone(cfg, input_shape),
        cfg.MODEL.FPN.OUT_CHANNELS,
        cfg.MODEL.STMIXER.NUM_STEPS,
        cfg.INPUT.CLIP.NUM_FRAMES,
    )
