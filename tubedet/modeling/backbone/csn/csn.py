"""Interaction-reduced channel-separated networks (ir-CSN) as a detectron2 backbone.

Du Tran et al., "Video Classification with Channel-Separated Convolutional Networks", ICCV 2019
(https://arxiv.org/abs/1904.02811); layer layout, epsilon and strides as in TubeR's trunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import configurable
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn

from tubedet.errors import UserError
from tubedet.layers import FrozenBatchNorm3d, get_norm_3d

from .depthwise_conv import DepthwiseConv3d
from .execution import EXECUTIONS, Part, in_fast_layout

BLOCKS_PER_STAGE = {
    26: (2, 2, 2, 2),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
STAGES = ("res2", "res3", "res4", "res5")
EXPANSION = 4


@dataclass
class ClipShapeSpec:
    """Shape of a 5-D feature map: detectron2's ``ShapeSpec`` with a temporal stride.

    Attributes:
        channels: C.
        stride: spatial stride with respect to the clip; a side of n pixels gives ceil(n / stride).
        temporal_stride: likewise for the frames.
    """

    channels: int
    stride: int
    temporal_stride: int


class Stem(Part):
    """7x7 convolution over three frames, batch norm, ReLU and spatial max pooling (stride 4)."""

    kind = "stem"

    def __init__(self, channels: int, norm: str, execution: str = "modules", triton: bool = False):
        super().__init__(execution, triton)
        self.conv = nn.Conv3d(3, channels, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        self.norm = get_norm_3d(norm, channels)
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))

    def convolutions(self) -> list[tuple[Any, nn.Module]]:
        """Return each convolution with the norm behind it."""
        return [(self.conv, self.norm)]

    def by_modules(self, x: torch.Tensor) -> torch.Tensor:
        """Compute (B, C, T, H, W) -> (B, C', T', H', W')."""
        return self.pool(self.norm(self.conv(x)).relu_())


class Bottleneck(Part):
    """1x1x1, depthwise 3x3x3 and 1x1x1 convolution with a shortcut; the middle one strides.

    Args:
        in_channels: channels of the input.
        mid_channels: channels of the depthwise convolution; the output has four times as many.
        stride: (time, row, column).
        project: whether the shortcut is a strided convolution (first block of a stage).
        norm: name of the batch norm, see :func:`get_norm_3d`.
        execution: see :class:`CSN`.
        triton: likewise.
    """

    kind = "bottleneck"

    def __init__(
        self,
        in_channels: int,
        mid_channels: int,
        stride: tuple[int, int, int],
        project: bool,
        norm: str,
        execution: str = "modules",
        triton: bool = False,
    ):
        super().__init__(execution, triton)
        out_channels = EXPANSION * mid_channels
        self.conv1 = nn.Conv3d(in_channels, mid_channels, 1, bias=False)
        self.norm1 = get_norm_3d(norm, mid_channels)
        self.conv2 = DepthwiseConv3d(mid_channels, stride)
        self.norm2 = get_norm_3d(norm, mid_channels)
        self.conv3 = nn.Conv3d(mid_channels, out_channels, 1, bias=False)
        self.norm3 = get_norm_3d(norm, out_channels)
        self.shortcut = None
        if project:
            self.shortcut = nn.Sequential(
                nn.Conv3d(in_channels, out_channels, 1, stride, bias=False),
                get_norm_3d(norm, out_channels),
            )

    def convolutions(self) -> list[tuple[Any, nn.Module]]:
        """Return each convolution with the norm behind it."""
        pairs = [(self.conv1, self.norm1), (self.conv2, self.norm2), (self.conv3, self.norm3)]
        if self.shortcut is None:
            return [*pairs]
        conv, norm = self.shortcut
        return [*pairs, (conv, norm)]

    def by_modules(self, x: torch.Tensor) -> torch.Tensor:
        """Compute (B, C, T, H, W) -> (B, C', T', H', W')."""
        out = self.norm1(self.conv1(x)).relu_()
        out = self.norm2(self.conv2(out)).relu_()
        out = self.norm3(self.conv3(out))
        return (out + (x if self.shortcut is None else self.shortcut(x))).relu_()


class CSN(Backbone):
    """ir-CSN returning any of its stages as 5-D maps.

    Args:
        depth: 26, 50, 101 or 152.
        width_multiplier: factor on all channel numbers.
        out_features: stages to return, among res2 .. res5.
        spatial_strides: of res2 .. res4.
        last_stride: spatial stride 2 in res5 instead of 1 (no dilation replaces it).
        temporal_strides: of res2 .. res5.
        norm: "BN", "FrozenBN", "SyncBN" or "GN".
        freeze_at: 0 trains all; 1 freezes the stem, n also res2 .. resn.
        execution: how parts that train are run; the result is the same. "modules": one after the
            other. "fused": on CPUs in full precision by the functions of
            :mod:`.fused_training`, which need less time and memory. "checkpointed": keep inputs
            and outputs of the parts and compute the rest again in the backward pass, on any device.
        triton: on NVIDIA GPUs, "fused" and "checkpointed" are the kernels of :mod:`.cuda`, in any
            precision, and detection is as well; elsewhere without effect.

    Raises:
        UserError: for a depth, stage name or number of strides that does not exist.
    """

    @configurable
    def __init__(
        self,
        *,
        depth: int = 50,
        width_multiplier: float = 1.0,
        out_features: Sequence[str] = ("res5",),
        spatial_strides: Sequence[int] = (1, 2, 2),
        last_stride: bool = False,
        temporal_strides: Sequence[int] = (1, 2, 2, 2),
        norm: str = "BN",
        freeze_at: int = 0,
        execution: str = "fused",
        triton: bool = False,
    ):
        super().__init__()
        if depth not in BLOCKS_PER_STAGE:
            raise UserError(f"MODEL.CSN.DEPTH is {depth}; choose one of {list(BLOCKS_PER_STAGE)}")
        if not out_features or not set(out_features) <= set(STAGES):
            raise UserError(f"MODEL.CSN.OUT_FEATURES is {out_features}; choose among {STAGES}")
        if len(temporal_strides) != len(STAGES):
            raise UserError(
                f"MODEL.CSN.TEMPORAL_STRIDES is {temporal_strides}; give one for each of {STAGES}"
            )
        if len(spatial_strides) != len(STAGES) - 1:
            raise UserError(
                f"MODEL.CSN.SPATIAL_STRIDES is {spatial_strides}; give one for each of "
                f"{STAGES[:-1]}"
            )
        if execution not in EXECUTIONS:
            raise UserError(f"MODEL.CSN.EXECUTION is {execution!r}; choose one of {EXECUTIONS}")
        self.execution = execution
        spatial_strides = (*spatial_strides, 2 if last_stride else 1)
        self.depth = depth
        self._out_features = [name for name in STAGES if name in out_features]
        self._shapes = {}

        channels = round(64 * width_multiplier)
        how = (execution, triton)
        self.stem = Stem(channels, norm, *how)
        stride, temporal_stride = 4, 1
        for i, name in enumerate(STAGES):
            mid_channels = round(64 * 2**i * width_multiplier)
            spatial = spatial_strides[i]
            blocks = []
            for block in range(BLOCKS_PER_STAGE[depth][i]):
                first = block == 0
                block_stride = (temporal_strides[i], spatial, spatial) if first else (1, 1, 1)
                blocks.append(Bottleneck(channels, mid_channels, block_stride, first, norm, *how))
                channels = EXPANSION * mid_channels
            self.add_module(name, nn.Sequential(*blocks))
            stride *= spatial
            temporal_stride *= temporal_strides[i]
            self._shapes[name] = ClipShapeSpec(channels, stride, temporal_stride)
            if name == self._out_features[-1]:
                break  # later stages would be parameters without a gradient
        self._init_weights()
        self._freeze(freeze_at)

    @classmethod
    def from_config(cls, cfg, input_shape=None):
        """Return the arguments of the constructor according to a config."""
        return {
            "depth": cfg.MODEL.CSN.DEPTH,
            "width_multiplier": cfg.MODEL.CSN.WIDTH_MULTIPLIER,
            "out_features": cfg.MODEL.CSN.OUT_FEATURES,
            "spatial_strides": cfg.MODEL.CSN.SPATIAL_STRIDES,
            "last_stride": cfg.MODEL.CSN.LAST_STRIDE,
            "temporal_strides": cfg.MODEL.CSN.TEMPORAL_STRIDES,
            "norm": cfg.MODEL.CSN.NORM,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
            "execution": cfg.MODEL.CSN.EXECUTION,
            "triton": cfg.MODEL.CSN.TRITON,
        }

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the features of normalised clips.

        Args:
            x: float (B, 3, T, H, W), RGB.

        Returns:
            {stage: (B, C, ceil(T / temporal_stride), ceil(H / stride), ceil(W / stride))}.
        """
        x = self.stem(in_fast_layout(x, self.execution))
        features = {}
        for name in self._shapes:
            x = getattr(self, name)(x)
            if name in self._out_features:
                features[name] = x
        return features

    def output_shape(self) -> dict[str, ClipShapeSpec]:
        """Channels and strides of the returned stages."""
        return {name: self._shapes[name] for name in self._out_features}

    def _init_weights(self):
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _freeze(self, freeze_at: int):
        if not 0 <= freeze_at <= 5:
            raise UserError(f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}; choose 0 .. 5")
        names = ("stem", *self._shapes)[:freeze_at]
        for name in names:
            stage = getattr(self, name)
            for parameter in stage.parameters():
                parameter.requires_grad = False
            FrozenBatchNorm3d.convert(stage)


@BACKBONE_REGISTRY.register()
def build_csn_backbone(cfg, input_shape=None) -> CSN:
    """Build :class:`CSN` from ``MODEL.CSN`` and ``MODEL.BACKBONE.FREEZE_AT``."""
    return CSN(cfg, input_shape)
