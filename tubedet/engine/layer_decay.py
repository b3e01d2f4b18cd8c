"""Learning rates of a ViT that shrink from its last layer to its first."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torch import nn

_FIRST = ("patch_embed", "pos_embed", "mask_token", "cls_token")
_BLOCK = re.compile(r"blocks\.(\d+)\.")


def vit_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Find the ViTs of a model: modules with a ``patch_embed`` and a list of ``blocks``.

    Args:
        model: any; it may be a ViT itself.

    Returns:
        the modules by their names in the model.
    """
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(getattr(module, "patch_embed", None), nn.Module)
        and isinstance(getattr(module, "blocks", None), (nn.ModuleList, nn.Sequential))
    }


def layer_factors(model: nn.Module, layer_decay: float) -> Iterator[tuple[str, float]]:
    """Generate the factors on the learning rates of the parameters of ViTs.

    The rule is that of BEiT, VideoMAE and UMT: the patches and positions are layer 0, block i is
    layer i + 1 and what follows the L blocks is layer L + 1; the factor of layer n is
    ``layer_decay ** (L + 1 - n)``. Whatever is outside of a ViT is not generated: its factor is 1.

    Args:
        model: with any number of ViTs, see :func:`vit_modules`.
        layer_decay: the share of the learning rate that a layer has of that of the next one.

    Yields:
        name of a parameter in the model, and its factor.
    """
    for prefix, vit in vit_modules(model).items():
        last = len(vit.get_submodule("blocks")) + 1  # type: ignore[arg-type]
        for name, _ in vit.named_parameters():
            layer = last
            if match := _BLOCK.match(name):
                layer = int(match[1]) + 1
            elif name.partition(".")[0] in _FIRST:
                layer = 0
            yield (f"{prefix}.{name}" if prefix else name), layer_decay ** (last - layer)


def vit_vectors(model: nn.Module) -> set[str]:
    """Names of the parameters of ViTs that published recipes do not shrink by weight decay.

    They are those of one dimension (norms, LayerScale), all biases, and the position table.

    Args:
        model: with any number of ViTs, see :func:`vit_modules`.
    """
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, vit in vit_modules(model).items()
        for name, parameter in vit.named_parameters()
        if parameter.dim() <= 1 or name.endswith("bias") or name == "pos_embed"
    }
