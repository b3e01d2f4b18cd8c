"""What an architecture must know of the maps of a backbone, whoever wrote that."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.modeling import Backbone

from tubedet.errors import UserError


def map_shapes(backbone: Backbone, architecture: str, *needed: str) -> dict[str, Any]:
    """Return the shapes of a backbone's maps, which may be detectron2's plain ``ShapeSpec``.

    That has no temporal stride, and its other values may be None.

    Args:
        backbone: from clips (B, 3, T, H, W) to a dict of maps.
        architecture: name, for messages.
        needed: attributes besides ``channels``, of "stride" and "temporal_stride".

    Returns:
        map -> what ``output_shape`` says of it.

    Raises:
        UserError: if there is no map, or an attribute of one is missing.
    """
    shapes: dict[str, Any] = backbone.output_shape()
    name = type(backbone).__name__
    if not shapes:
        raise UserError(f"MODEL.BACKBONE.NAME: output_shape of {name} names no map")
    for map_name, shape in shapes.items():
        for attribute in ("channels", *needed):
            if getattr(shape, attribute, None) is None:
                raise UserError(
                    f"{architecture} needs the {attribute} of map {map_name!r}, which output_shape "
                    f"of {name} (MODEL.BACKBONE.NAME) does not tell; let it return "
                    "tubedet.modeling.ClipShapeSpec(channels, stride, temporal_stride)"
                )
    return shapes


def check_maps(maps: dict[str, torch.Tensor], backbone: Backbone, axes: int) -> None:
    """Compare what a backbone returned with what its ``output_shape`` says.

    Args:
        maps: the result.
        backbone: whose they are.
        axes: 5 for maps (B, C, T, H, W), 4 for maps (B, C, H, W).

    Raises:
        UserError: if a map is missing, or has another number of axes or channels.
    """
    name = f"{type(backbone).__name__} (MODEL.BACKBONE.NAME)"
    for map_name, shape in backbone.output_shape().items():
        if map_name not in maps:
            raise UserError(
                f"output_shape of {name} names map {map_name!r}, but its forward returns "
                f"{', '.join(map(repr, maps))}"
            )
        size = tuple(maps[map_name].shape)
        if len(size) != axes or size[1] != shape.channels:
            wanted = ["clips", str(shape.channels), "time", "height", "width"]
            if axes == 4:
                del wanted[2]
            raise UserError(
                f"map {map_name!r} of {name} has the size {size} instead of "
                f"({', '.join(wanted)}); see its output_shape"
            )
