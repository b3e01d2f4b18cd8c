"""CSN pooled over time under a feature pyramid: 2-D key-frame maps of strides 4 to 32.

Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017
(https://arxiv.org/abs/1612.03144), by detectron2's implementation.
"""

import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone

from tubedet.errors import UserError

from .csn import CSN, build_csn_backbone
from .temporal_pooling import MapPooling


class TimePooledCSN(Backbone):
    """Every stage of a CSN pooled over time to one 2-D map.

    Args:
        csn: the video backbone.
        pooling: "avg", "max", "center" or "decode", see :class:`MapPooling`.
        num_heads, dropout: of "decode", which learns one pooling per stage.

    Raises:
        UserError: for a pooling that keeps the time steps, or an unknown one.
    """

    def __init__(self, csn: CSN, pooling: str, *, num_heads: int = 8, dropout: float = 0.0):
        super().__init__()
        self.csn = csn
        channels = {name: shape.channels for name, shape in csn.output_shape().items()}
        self.pooling = MapPooling(pooling, channels, num_heads=num_heads, dropout=dropout)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Clips (B, 3, T, H, W) -> {stage: (B, C, ceil(H / stride), ceil(W / stride))}."""
        return self.pooling(self.csn(x))

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and spatial strides of the returned stages."""
        return {
            name: ShapeSpec(channels=shape.channels, stride=shape.stride)
            for name, shape in self.csn.output_shape().items()
        }


@BACKBONE_REGISTRY.register()
def build_csn_fpn_backbone(cfg, input_shape=None) -> FPN:
    """Build a pyramid p2, p3, ... over all of ``MODEL.CSN.OUT_FEATURES``.

    Channels, norm and fusion are detectron2's ``MODEL.FPN.{OUT_CHANNELS,NORM,FUSE_TYPE}``; the
    pooling is ``MODEL.SPARSE_RCNN.TEMPORAL_POOLING``. The sides of the clips must be multiples of
    the pyramid's ``size_divisibility``.

    Raises:
        UserError: if the stride does not double from stage to stage, or for a wrong pooling.
    """
    csn = build_csn_backbone(cfg, input_shape)
    strides = {name: shape.stride for name, shape in csn.output_shape().items()}
    values = list(strides.values())
    if any(coarse != 2 * fine for fine, coarse in zip(values, values[1:])):
        raise UserError(
            f"a feature pyramid needs strides that double, not {strides}; set "
            "MODEL.CSN.SPATIAL_STRIDES (1, 2, 2), MODEL.CSN.LAST_STRIDE True and neighbouring "
            "MODEL.CSN.OUT_FEATURES"
        )
    sparse = cfg.MODEL.SPARSE_RCNN
    bottom_up = TimePooledCSN(
        csn, sparse.TEMPORAL_POOLING, num_heads=sparse.NUM_HEADS, dropout=sparse.DROPOUT
    )
    return FPN(
        bottom_up,
        in_features=list(strides),
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
