"""SlowFast and its slow pathway alone (SlowOnly) as detectron2 backbones.

Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019
(https://arxiv.org/abs/1812.03982); names and arithmetic of facebookresearch/SlowFast, maps as
MCG-NJU/STMixer takes them.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn

from tubedet.errors import UserError
from tubedet.layers import FrozenBatchNorm3d
from tubedet.modeling.backbone.csn import ClipShapeSpec
from tubedet.modeling.backbone.lateral_pyramid import LateralPyramid

from .stage import EXPANSION, NORM_EPS, ResidualStage, norm_3d

PATHWAYS = ("slow", "slowfast")
BLOCKS_PER_STAGE = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
STAGES = ("res2", "res3", "res4", "res5")
# Bottlenecks of the stages that see several time steps, whatever the depth.
_NUM_TEMPORAL = (3, 4, 6, 3)
# Time steps that the stem and the bottlenecks of the stages see.
_SLOW_STEPS, _FAST_STEPS = (1, 1, 1, 3, 3), (5, 3, 3, 3, 3)
# The fast pathway has this share of the slow one's channels.
_FAST_SHARE = 8
# Bottlenecks of res4 of depth 101 before a non-local layer.
_NON_LOCAL_BLOCKS = (6, 13, 20)


class Stem(nn.Module):
    """Convolution, norm, ReLU and spatial max pooling of each pathway (stride 4)."""

    def __init__(self, channels: Sequence[int], steps: Sequence[int], norm: str):
        super().__init__()
        self.num_pathways = len(channels)
        for pathway, (number, time) in enumerate(zip(channels, steps)):
            size, padding = (time, 7, 7), (time // 2, 3, 3)
            conv = nn.Conv3d(3, number, size, (1, 2, 2), padding, bias=False)
            layers = {"conv": conv, "bn": norm_3d(norm, number, NORM_EPS)}
            self.add_module(f"pathway{pathway}_stem", nn.ModuleDict(layers))

    def forward(self, clips: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Compute the maps (B, C, T, H / 4, W / 4) of the pathways."""
        outputs = []
        for pathway, x in enumerate(clips):
            layers = getattr(self, f"pathway{pathway}_stem")
            y = layers["bn"](layers["conv"](x)).relu_()
            outputs.append(F.max_pool3d(y, (1, 3, 3), (1, 2, 2), (0, 1, 1)))
        return outputs


class Fusion(nn.Module):
    """A strided convolution over time brings the fast map to the slow one, beside which it goes."""

    def __init__(self, channels: int, ratio: int, kernel: int, norm: str):
        super().__init__()
        size, stride, padding = (kernel, 1, 1), (ratio, 1, 1), (kernel // 2, 0, 0)
        self.conv_f2s = nn.Conv3d(channels, 2 * channels, size, stride, padding, bias=False)
        self.bn = norm_3d(norm, 2 * channels, NORM_EPS)

    def forward(self, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Slow and fast map -> the slow one with more channels, and the same fast one."""
        slow, fast = maps
        return [torch.cat((slow, self.bn(self.conv_f2s(fast)).relu_()), dim=1), fast]


class SlowFast(Backbone):
    """A residual network over some frames, and one of fewer channels over all of them.

    Args:
        pathways: "slow": the slow pathway alone, over all frames. "slowfast": both.
        depth: 50 or 101.
        width: channels of the slow stem; 64 as published.
        ratio: frames of a clip for one of the slow pathway (alpha).
        fusion_kernel: time steps that a fusion sees.
        non_local: non-local layers in res4 of depth 101.
        out_features: stages to return, among res2 .. res5. A map holds the slow channels, then the
            fast ones, the largest of each ``ratio`` steps.
        norm: see :func:`norm_3d`.
        freeze_at: 0 trains all; 1 freezes the stem, n also res2 .. resn.

    Raises:
        UserError: for a value that does not exist, or non-local layers of another depth.
    """

    @configurable
    def __init__(
        self,
        *,
        pathways: str = "slowfast",
        depth: int = 50,
        width: int = 64,
        ratio: int = 4,
        fusion_kernel: int = 7,
        non_local: bool = False,
        out_features: Sequence[str] = STAGES,
        norm: str = "BN",
        freeze_at: int = 0,
    ):
        super().__init__()
        _check_choice("PATHWAYS", pathways, PATHWAYS)
        _check_choice("DEPTH", depth, tuple(BLOCKS_PER_STAGE))
        if non_local and depth != 101:
            raise UserError("MODEL.SLOWFAST.NON_LOCAL needs MODEL.SLOWFAST.DEPTH 101")
        if not out_features or not set(out_features) <= set(STAGES):
            raise UserError(
                f"MODEL.SLOWFAST.OUT_FEATURES is {[*out_features]}; choose among {STAGES}"
            )
        self.ratio = ratio if pathways == "slowfast" else 1
        self.has_fast = pathways == "slowfast"
        self._out_features = [name for name in STAGES if name in out_features]
        self._shapes = {}
        steps = [_SLOW_STEPS, _FAST_STEPS] if self.has_fast else [_SLOW_STEPS]
        mid = [width, width // _FAST_SHARE][: len(steps)]
        channels = list(mid)
        self.s1 = Stem(channels, [number[0] for number in steps], norm)
        stride = 4
        for index, name in enumerate(STAGES):
            if self.has_fast:
                fusion = Fusion(channels[1], ratio, fusion_kernel, norm)
                self.add_module(f"s{index + 1}_fuse", fusion)
                channels[0] += 2 * channels[1]
            stage = ResidualStage(
                channels,
                mid,
                BLOCKS_PER_STAGE[depth][index],
                [number[index + 1] for number in steps],
                _NUM_TEMPORAL[index],
                2 if index else 1,
                _NON_LOCAL_BLOCKS if non_local and name == "res4" else (),
                norm,
            )
            self.add_module(f"s{index + 2}", stage)
            channels = [EXPANSION * number for number in mid]
            mid = [2 * number for number in mid]
            stride *= 2 if index else 1
            self._shapes[name] = ClipShapeSpec(sum(channels), stride, self.ratio)
            if name == self._out_features[-1]:
                break  # later stages would be parameters without a gradient
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self._freeze(freeze_at)

    @classmethod
    def from_config(cls, cfg, input_shape=None):
        """Return the arguments of the constructor according to a config."""
        node = cfg.MODEL.SLOWFAST
        return {
            "pathways": node.PATHWAYS,
            "depth": node.DEPTH,
            "width": node.WIDTH,
            "ratio": node.RATIO,
            "fusion_kernel": node.FUSION_KERNEL,
            "non_local": node.NON_LOCAL,
            "out_features": node.OUT_FEATURES,
            "norm": node.NORM,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        }

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the features of normalised clips.

        Args:
            x: float (B, 3, T, H, W), RGB.

        Returns:
            {stage: (B, C, T / ratio, ceil(H / stride), ceil(W / stride))}.

        Raises:
            UserError: if the ratio does not divide the frames.
        """
        maps = self.s1([x] if not self.has_fast else [x[:, :, self._slow_frames(x)], x])
        features = {}
        for index, name in enumerate(self._shapes):
            if self.has_fast:
                maps = getattr(self, f"s{index + 1}_fuse")(maps)
            maps = getattr(self, f"s{index + 2}")(maps)
            if name in self._out_features:
                features[name] = self._joined(maps)
        return features

    def output_shape(self) -> dict[str, ClipShapeSpec]:  # type: ignore[override]
        """Channels and strides of the returned stages."""
        return {name: self._shapes[name] for name in self._out_features}

    def _slow_frames(self, x: torch.Tensor) -> list[int]:
        """Return indices from the first to the last frame, evenly spread and rounded down."""
        num_frames = x.shape[2]
        number, rest = divmod(num_frames, self.ratio)
        if rest:
            raise UserError(
                f"a clip has {num_frames} frames, which MODEL.SLOWFAST.RATIO {self.ratio} does not "
                "divide; change it or INPUT.CLIP.NUM_FRAMES"
            )
        return [index * (num_frames - 1) // max(number - 1, 1) for index in range(number)]

    def _joined(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        if not self.has_fast:
            return maps[0]
        size = (self.ratio, 1, 1)
        return torch.cat((maps[0], F.max_pool3d(maps[1], size, size)), dim=1)

    def _freeze(self, freeze_at: int) -> None:
        if not 0 <= freeze_at <= 5:
            raise UserError(f"MODEL.BACKBONE.FREEZE_AT is {freeze_at}; choose 0 .. 5")
        for number in range(1, freeze_at + 1):
            # A fusion belongs to the stage that it leads to.
            for name in (f"s{number - 1}_fuse", f"s{number}"):
                part = getattr(self, name, None)
                if part is not None:
                    part.requires_grad_(False)
                    FrozenBatchNorm3d.convert(part)


def _check_choice(key: str, value: object, choices: tuple) -> None:
    if value not in choices:
        raise UserError(f"MODEL.SLOWFAST.{key} is {value!r}; choose one of {choices}")


@BACKBONE_REGISTRY.register()
def build_slowfast_backbone(cfg, input_shape=None) -> SlowFast:
    """Build :class:`SlowFast` from ``MODEL.SLOWFAST`` and ``MODEL.BACKBONE.FREEZE_AT``."""
    return SlowFast(cfg, input_shape)


@BACKBONE_REGISTRY.register()
def build_slowfast_lateral_backbone(cfg, input_shape=None) -> LateralPyramid:
    """Build p2, p3, ... over ``MODEL.SLOWFAST.OUT_FEATURES``, as for a CSN.

    They have ``MODEL.FPN.OUT_CHANNELS`` channels and ``MODEL.STMIXER.NUM_STEPS`` time steps.

    Raises:
        UserError: if these do not divide the frames of a clip.
    """
    return LateralPyramid(
        build_slowfast_backbone(cfg, input_shape),
        cfg.MODEL.FPN.OUT_CHANNELS,
        cfg.MODEL.STMIXER.NUM_STEPS,
        cfg.INPUT.CLIP.NUM_FRAMES,
    )
