"""The backbone of a model and that of a file: where it lies, and whether it is the same network."""

from __future__ import annotations

import logging
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from tubedet.modeling.backbone.csn.csn import BLOCKS_PER_STAGE, CSN, STAGES
from tubedet.modeling.backbone.slowfast import SlowFast
from tubedet.modeling.backbone.vit import SIZES, ViT, ViTPyramid
from tubedet.modeling.backbone.vit.position_table import resize_table

from .key_layout import NamedWeights
from .safe_loading import CheckpointError
from .vit_names import BODY_PLACE, join_attention_biases

logger = logging.getLogger(__name__)

# Where our models have the networks; what follows is the same in all of them.
_CSN_PLACE = r"^backbone\.(bottom_up\.csn\.|body\.)?(?=(stem|res[2-5])\.)"
_PYRAMID_PLACE = r"^backbone\.(?=lateral_convs\.)"
_SLOWFAST_PLACE = r"^backbone\.(body\.)?(?=s[1-5](_fuse)?\.)"
_ANY_TRUNK = re.compile("|".join((_CSN_PLACE, BODY_PLACE, _SLOWFAST_PLACE, _PYRAMID_PLACE)))
_WITHIN_CSN = re.compile(r"(stem|res\d)\.")
_WITHIN_VIT = re.compile(r"(patch_embed|blocks|norm)\.|pos_embed$")
_POSITIONS = "pos_embed"


@dataclass(frozen=True)
class Trunk:
    """The network in a model that its backbone's weights are for.

    Attributes:
        network: that network; None: a SlowFast, of which no numbers are checked, or of a kind that
            is unknown here.
        prefix: its place in the model, empty or with a dot at the end.
        pyramid: place of the pyramid on it; None: it has none with weights of its own.
    """

    network: CSN | ViT | None = None
    prefix: str = ""
    pyramid: str | None = None

    def has(self, key: str) -> bool:
        """Tell whether a key of the model is one of its backbone's weights."""
        if self.network is None:
            return bool(_ANY_TRUNK.match(key))
        if self._is_level(key):
            return True
        within = _WITHIN_VIT if isinstance(self.network, ViT) else _WITHIN_CSN
        return key.startswith(self.prefix) and bool(within.match(key, len(self.prefix)))

    def begins_anew(self, key: str, named: NamedWeights) -> bool:
        """Tell whether files such as this one lack a weight of the backbone by design.

        Args:
            key: of the model.
            named: weights of the file.
        """
        if not isinstance(self.network, ViT) or not self.has(key):
            return False
        if self._is_level(key):
            return not any(map(self._is_level, named.weights))
        within = key.removeprefix(self.prefix)
        # Learned positions begin as the fixed ones that the file was trained with.
        return within == _POSITIONS or bool(re.match(named.layout.new, within))

    def has_unused_level(self, key: str, own: Container[str]) -> bool:
        """Tell whether a key is of a level of the pyramid that the model does not return.

        Args:
            key: of a file, in its place.
            own: keys of the model.
        """
        return self._is_level(key) and key not in own

    def _is_level(self, key: str) -> bool:
        return self.pyramid is not None and key.startswith(f"{self.pyramid}lateral_convs.")


def find_trunk(model: nn.Module) -> Trunk:
    """Find the network that a model's backbone has.

    Args:
        model: any of this project, or a backbone.
    """
    places = dict(model.named_modules())
    for name, module in places.items():
        if isinstance(module, (CSN, ViT)):
            pyramid = next((n for n, m in places.items() if isinstance(m, ViTPyramid)), None)
            return Trunk(module, _as_prefix(name), None if pyramid is None else _as_prefix(pyramid))
        if isinstance(module, SlowFast):
            return Trunk(prefix=_as_prefix(name))
    return Trunk()


def of_any_trunk(key: str) -> bool:
    """Tell whether a key, by our names, is one of a backbone of any kind.

    Args:
        key: of a file.
    """
    return bool(_ANY_TRUNK.match(key))


def move_trunk(named: NamedWeights, trunk: Trunk, source: str) -> None:
    """Rename the backbone's weights to where the model has it.

    Args:
        named: weights by our names, changed in place.
        trunk: of the model.
        source: file name for messages.

    Raises:
        CheckpointError: see :func:`join_attention_biases`.
    """
    if trunk.network is None:
        if trunk.prefix:
            named.rename(lambda key: re.sub(_SLOWFAST_PLACE, trunk.prefix, key))
        return
    if isinstance(trunk.network, ViT):
        join_attention_biases(named, source)
    place = BODY_PLACE if isinstance(trunk.network, ViT) else _CSN_PLACE
    named.rename(lambda key: re.sub(place, trunk.prefix, key))
    if trunk.pyramid is not None:
        named.rename(lambda key: re.sub(_PYRAMID_PLACE, str(trunk.pyramid), key))


def check_trunk(named: NamedWeights, own: Mapping[str, torch.Tensor], trunk: Trunk, source: str):
    """Stop at a backbone of another kind or of other numbers.

    Args:
        named: weights that are in place, see :func:`move_trunk`.
        own: the state of the model.
        trunk: of the model.
        source: file name for messages.

    Raises:
        CheckpointError: naming the config key.
    """
    network = trunk.network
    if network is None:
        return
    if isinstance(network, CSN):
        if any(re.match(BODY_PLACE, key) for key in named.weights):
            raise CheckpointError(
                f"{source} holds a video ViT, but the model has a CSN (MODEL.BACKBONE.NAME)"
            )
        _check_csn(named, own, trunk.prefix, network, source)
        return
    if any(re.match(_CSN_PLACE, key) for key in named.weights):
        raise CheckpointError(
            f"{source} holds a CSN, but the model has a video ViT (MODEL.BACKBONE.NAME)"
        )
    _check_vit(named, own, trunk.prefix, network, source)


def fit_positions(named: NamedWeights, trunk: Trunk, source: str) -> tuple | None:
    """Resize a file's learned positions of a ViT to the model's grid and steps.

    Args:
        named: changed in place.
        trunk: of the model.
        source: file name for messages.

    Returns:
        shapes in the file and in the model; None: nothing was resized.
    """
    key, vit = trunk.prefix + _POSITIONS, trunk.network
    if not isinstance(vit, ViT) or key not in named.weights:
        return None
    if vit.pos_embed is None:
        logger.warning(
            f"{source} has positions of its own (pos_embed), which are not used; with "
            "MODEL.VIT.POS_EMBED learned they are"
        )
        return None
    theirs = named.weights[key]
    num_cells = vit.grid**2
    if theirs.shape == vit.pos_embed.shape or theirs.dim() != 3 or theirs.shape[1] % num_cells:
        return None
    table = theirs[0].unflatten(0, (-1, vit.grid, vit.grid))
    table = resize_table(table, vit.table_steps, vit.grid, vit.grid).flatten(0, 2)[None]
    named.weights[key] = table
    return tuple(theirs.shape), tuple(table.shape)


def _as_prefix(name: str) -> str:
    return f"{name}." if name else ""


def _check_csn(named, own, prefix: str, csn: CSN, source: str) -> None:
    """Stop at a CSN of another depth or width."""
    theirs, ours = _csn_blocks(named.weights, prefix), _csn_blocks(own, prefix)
    if any(theirs[stage] != ours[stage] for stage in theirs.keys() & ours.keys()):
        found = tuple(theirs.get(stage, 0) for stage in STAGES)
        depths = [depth for depth, blocks in BLOCKS_PER_STAGE.items() if blocks == found]
        kind = f"CSN-{depths[0]}" if depths else "CSN of a depth unknown here"
        raise CheckpointError(
            f"{source} holds a {kind} (blocks per stage {found}), but MODEL.CSN.DEPTH is "
            f"{csn.depth}"
        )
    for key, layer in (("stem.norm.weight", "stem"), ("res2.0.norm1.weight", "bottlenecks")):
        key = prefix + key
        if key in named.weights and key in own and named.weights[key].shape != own[key].shape:
            raise CheckpointError(
                f"{source} holds a CSN with {named.weights[key].numel()} channels in its {layer}, "
                f"but the model's has {own[key].numel()} (MODEL.CSN.WIDTH_MULTIPLIER)"
            )


def _csn_blocks(keys: Iterable[str], prefix: str) -> dict[str, int]:
    """Blocks of each stage that the keys have."""
    blocks: dict[str, int] = {}
    for key in keys:
        match = re.match(re.escape(prefix) + r"(res\d)\.(\d+)\.", key)
        if match:
            blocks[match[1]] = max(blocks.get(match[1], 0), int(match[2]) + 1)
    return blocks


def _check_vit(named, own, prefix: str, vit: ViT, source: str) -> None:
    """Stop at a ViT of other numbers."""
    theirs, ours = _vit_numbers(named.weights, prefix), _vit_numbers(own, prefix)
    keys = {
        "width": "MODEL.VIT.SIZE or MODEL.VIT.WIDTH",
        "depth": "MODEL.VIT.SIZE or MODEL.VIT.DEPTH",
        "MLP width": "MODEL.VIT.SIZE or MODEL.VIT.MLP_WIDTH",
        "patch size": "MODEL.VIT.PATCH_SIZE",
        "tubelet": "MODEL.VIT.TUBELET",
    }
    for number, key in keys.items():
        if number not in theirs or theirs[number] == ours[number]:
            continue
        sizes = [n for n, s in SIZES.items() if s.width == theirs.get("width")]
        name = f"ViT-{sizes[0]}" if sizes else "video ViT"
        advice = f"set {key}"
        if number == "tubelet":
            advice += (
                f" {theirs[number]}, or make a file for {ours[number]} with "
                f"tubedet convert --tubelet {ours[number]}"
            )
        raise CheckpointError(
            f"{source} holds a {name} of {number} {theirs[number]}, but the model's has "
            f"{ours[number]}; {advice}"
        )
    if theirs and theirs["scales its branches"] != ours["scales its branches"]:
        has, value = ("has", "1e-5") if theirs["scales its branches"] else ("lacks", "0")
        raise CheckpointError(
            f"{source} {has} the LayerScale (gamma_1, gamma_2) of its blocks, but the model "
            f"{'lacks' if has == 'has' else 'has'} it; set MODEL.VIT.INIT_VALUES {value}"
        )


def _vit_numbers(weights: Mapping[str, torch.Tensor], prefix: str) -> dict[str, int]:
    """Numbers of a ViT that its shapes tell: all but that of its heads."""
    kernel = weights.get(f"{prefix}patch_embed.proj.weight")
    if kernel is None or kernel.dim() != 5:
        return {}
    blocks = re.compile(re.escape(prefix) + r"blocks\.(\d+)\.")
    matches = [match for match in map(blocks.match, weights) if match]
    numbers = {
        "width": kernel.shape[0],
        "tubelet": kernel.shape[2],
        "patch size": kernel.shape[3],
        "depth": max((int(match[1]) + 1 for match in matches), default=0),
        "scales its branches": int(f"{prefix}blocks.0.gamma_1" in weights),
    }
    hidden = weights.get(f"{prefix}blocks.0.mlp.fc1.weight")
    return numbers if hidden is None else {**numbers, "MLP width": hidden.shape[0]}
