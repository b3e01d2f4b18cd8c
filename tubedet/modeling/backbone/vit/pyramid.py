"""A 3-D feature pyramid on the one map of a video ViT.

As in MCG-NJU/STMixer and naver-ai/class-query-vad: four branches that do not see each other bring
the map to strides 4 to 32 (of patches of 16 pixels) and keep all its time steps.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import nn

from tubedet.errors import UserError
from tubedet.layers import LayerNorm
from tubedet.modeling.backbone.csn import ClipShapeSpec
from tubedet.modeling.backbone.temporal_pooling import MapPooling

from .block import NORM_EPS
from .vit import OUT_FEATURE, ViT, build_vit_backbone

# Levels and the sides of their cells in patches.
LEVELS = {"p2": 0.25, "p3": 0.5, "p4": 1, "p5": 2}


class ChannelNorm(LayerNorm):
    """Layer norm over the channels of every cell of a map."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, T, H, W) -> (B, C, T, H, W)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ViTPyramid(Backbone):
    """A ViT and maps p2, p3, p4, p5 with cells of 1/4, 1/2, 1 and 2 patches.

    Args:
        body: the ViT; its ``mask_padding`` counts here too: the branches see 0 on padding.
        out_channels: channels C of all maps.
        out_features: maps that are returned; the others have no parameters.
        pooling: joins the time steps of each map, so that maps are 2-D; None: they stay.

    Raises:
        UserError: for a level that does not exist, or a patch that four cells do not fill.
    """

    def __init__(
        self,
        body: ViT,
        out_channels: int = 256,
        *,
        out_features: Sequence[str] = tuple(LEVELS),
        pooling: MapPooling | None = None,
    ):
        super().__init__()
        if not out_features or not set(out_features) <= set(LEVELS):
            raise UserError(
                f"MODEL.VIT.OUT_FEATURES is {[*out_features]}; choose among {[*LEVELS]}"
            )
        self._out_features = [name for name in LEVELS if name in out_features]
        strides = {name: body.patch_size * LEVELS[name] for name in self._out_features}
        if any(stride % 1 for stride in strides.values()):
            raise UserError(
                f"MODEL.VIT.PATCH_SIZE is {body.patch_size}, so that {self._out_features[0]} of "
                "MODEL.VIT.OUT_FEATURES has cells of half a pixel; leave it out"
            )
        self._shapes = {
            name: ClipShapeSpec(out_channels, int(stride), body.tubelet)
            for name, stride in strides.items()
        }
        self.body = body
        self.mask_padding = body.mask_padding
        branches = _branches(body.width, out_channels)
        self.lateral_convs = nn.ModuleList(
            branch if name in self._shapes else nn.Sequential()
            for name, branch in zip(LEVELS, branches)
        )
        self.pooling = pooling

    def forward(
        self, x: torch.Tensor, sizes: Sequence[tuple[int, int]] | None = None
    ) -> dict[str, torch.Tensor]:
        """Compute the maps of normalised clips.

        Args:
            x: float (B, 3, T, H, W), RGB.
            sizes: see :meth:`ViT.forward`.

        Returns:
            {level: (B, C, T // tubelet, H // stride, W // stride)}, without time when pooled.
        """
        features = self.body(x, sizes)[OUT_FEATURE]
        maps = self.levels(features, self.body.content(features, sizes))
        return maps if self.pooling is None else self.pooling(maps)

    def levels(
        self, x: torch.Tensor, content: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Compute the maps from the map of the ViT.

        Args:
            x: (B, D, t, h, w).
            content: see :meth:`ViT.content`.

        Returns:
            {level: (B, C, t, ...)} with (4h, 4w), (2h, 2w), (h, w) and (h // 2, w // 2) cells.
        """
        maps = {}
        for name, branch in zip(LEVELS, self.lateral_convs):
            if name not in self._shapes:
                continue
            *first, last = branch.children()
            y = x
            for layer in first:
                y = layer(y)
            if content is None:
                maps[name] = last(y)
            else:
                mask = _resized_content(content, LEVELS[name])[:, None].to(y.dtype)
                maps[name] = last(y * mask) * mask
        return maps

    def output_shape(self) -> dict[str, ShapeSpec | ClipShapeSpec]:  # type: ignore[override]
        """Channels and strides of the maps."""
        if self.pooling is None:
            return dict(self._shapes)
        return {
            name: ShapeSpec(channels=shape.channels, stride=shape.stride)
            for name, shape in self._shapes.items()
        }

    @property
    def size_divisibility(self) -> int:
        """What the sides of clips are padded to a multiple of: no cell is cut."""
        coarsest = LEVELS[self._out_features[-1]]
        return self.body.size_divisibility * max(int(coarsest), 1)


def _branches(width: int, channels: int) -> list[nn.Sequential]:
    """Make the layers of p2, p3, p4 and p5 in the published order."""

    def finer(n: int) -> nn.Module:
        return nn.ConvTranspose3d(n, n // 2, (1, 2, 2), (1, 2, 2))

    def output(n: int) -> list[nn.Module]:
        return [
            nn.Conv3d(n, channels, 1, bias=False),
            ChannelNorm(channels, eps=NORM_EPS),
            nn.Conv3d(channels, channels, 3, padding=1, bias=False),
        ]

    half, quarter = width // 2, width // 4
    norm = ChannelNorm(half, eps=NORM_EPS)
    return [
        nn.Sequential(finer(width), norm, nn.GELU(), finer(half), *output(quarter)),
        nn.Sequential(finer(width), *output(half)),
        nn.Sequential(*output(width)),
        nn.Sequential(nn.MaxPool3d((1, 2, 2), (1, 2, 2)), *output(width)),
    ]


def _resized_content(content: torch.Tensor, cell: float) -> torch.Tensor:
    """Bring bool (B, 1, h, w) from patches to cells of another size; a part of a patch counts."""
    resized = content.float()
    if cell > 1:
        resized = F.max_pool2d(resized, int(cell))
    elif cell < 1:
        resized = F.interpolate(resized, scale_factor=1 / cell, mode="nearest")
    return resized.bool()


@BACKBONE_REGISTRY.register()
def build_vit_pyramid_backbone(cfg, input_shape=None) -> ViTPyramid:
    """Build a pyramid of ``MODEL.FPN.OUT_CHANNELS`` channels from ``MODEL.VIT``.

    Raises:
        UserError: see :class:`ViTPyramid`.
    """
    return ViTPyramid(
        build_vit_backbone(cfg, input_shape),
        cfg.MODEL.FPN.OUT_CHANNELS,
        out_features=cfg.MODEL.VIT.OUT_FEATURES,
    )


@BACKBONE_REGISTRY.register()
def build_vit_pyramid_2d_backbone(cfg, input_shape=None) -> ViTPyramid:
    """Build the pyramid with every map pooled by ``MODEL.SPARSE_RCNN.TEMPORAL_POOLING``.

    Raises:
        UserError: see :class:`ViTPyramid`; also for a pooling that keeps the time steps.
    """
    channels, sparse = cfg.MODEL.FPN.OUT_CHANNELS, cfg.MODEL.SPARSE_RCNN
    pooling = MapPooling(
        sparse.TEMPORAL_POOLING,
        dict.fromkeys(cfg.MODEL.VIT.OUT_FEATURES, channels),
        num_heads=sparse.NUM_HEADS,
        dropout=sparse.DROPOUT,
    )
    return ViTPyramid(
        build_vit_backbone(cfg, input_shape),
        channels,
        out_features=cfg.MODEL.VIT.OUT_FEATURES,
        pooling=pooling,
    )
