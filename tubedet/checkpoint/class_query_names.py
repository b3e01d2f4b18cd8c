"""Key names of the published class-query detector (naver-ai/class-query-vad), there and back.

Its files name some tensors several times, and have parameters that nothing ever uses: those are not
loaded, and written back as zeros, because the published code expects them.
"""

import re

import torch

from .key_layout import ReleasedLayout, apply_rules
from .safe_loading import CheckpointError
from .trunk_names import TUBER_TRUNK_NAMES, TUBER_TRUNK_RULES

_CLASS_LAYER = r"^transformer\.decoder\.cls_layers\.\d+\."
# The convolutions of a classifying layer are one module under three names. Of copies that differ
# the published code keeps the last.
_NUM_COPIES = 3
_COPIES = (r"(\.conv_blocks)\.[01]\.", r"\1.2.")
_SECOND_BOXES = "transformer.decoder.bbox_embed."
_UNUSED_NORM = "transformer.decoder.cls_norm."

CLASS_QUERY = ReleasedLayout(
    name="released class-query names",
    signature=(
        "transformer.decoder.class_queries.weight",
        "transformer.decoder.layers.0.lvl_w_embed.weight",
        "bbox_embed.layers.0.weight",
    ),
    rules=(
        (r"^backbone\.0\.body\.(?=(patch_embed|blocks|norm)\.|pos_embed$)", "backbone.vit_body."),
        (r"^backbone\.0\.", "backbone."),
        *TUBER_TRUNK_RULES,
        (r"^backbone\.vit_body\.", "backbone.body."),
        (r"\.conv_blocks\.\d\.", ".conv_block."),
        (r"^bbox_embed\.", "box_head."),
        (r"^class_embed_b\.", "person_head."),
    ),
    ignored=_CLASS_LAYER + r"q_proj\.|^" + re.escape(_UNUSED_NORM),
    second_names=(_COPIES, (f"^{re.escape(_SECOND_BOXES)}", "bbox_embed.")),
    modules=("transformer", "box_head", "refpoint_embed"),
)

_UNCHANGED = r"^(transformer|input_proj|refpoint_embed)\."


def to_class_query_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename tubedet's class-query weights to the released names, the inverse of reading them.

    Args:
        weights: by our names.

    Returns:
        the same tensors under all their released names, with ``module.``, and zeros for those that
        the published code has and never uses.

    Raises:
        CheckpointError: for a weight that no released class-query detector has.
    """
    released: dict[str, torch.Tensor] = {}
    for key, value in weights.items():
        for name in _released(key):
            released[f"module.{name}"] = value
        layer = re.match(_CLASS_LAYER + r"(?=k_proj\.)", key)
        if layer:
            unused = key[layer.end() :].replace("k_proj", "q_proj")
            zeros = torch.zeros_like(value.flatten(1) if value.dim() > 1 else value)
            released[f"module.{layer[0]}{unused}"] = zeros
        if key.startswith("transformer.decoder.cls_norm2."):
            unused = _UNUSED_NORM + key.rpartition(".")[2]
            released[f"module.{unused}"] = torch.zeros_like(value)
    return released


def _released(key: str) -> list[str]:
    """Return the released names of one of our names."""
    if key.startswith("box_head."):
        name = key.replace("box_head.", "bbox_embed.", 1)
        return [name, f"transformer.decoder.{name}"]
    if re.match(_CLASS_LAYER + r"conv_block\.", key):
        return [key.replace("conv_block.", f"conv_blocks.{n}.", 1) for n in range(_NUM_COPIES)]
    if key.startswith("person_head."):
        return [key.replace("person_head.", "class_embed_b.", 1)]
    if re.match(_UNCHANGED, key):
        return [key]
    if re.match(r"^backbone\.(body|lateral_convs)\.", key):
        return [key.replace("backbone.", "backbone.0.", 1)]
    trunk = apply_rules(key, TUBER_TRUNK_NAMES)
    if trunk != key:
        return [trunk.replace("backbone.", "backbone.0.", 1)]
    raise CheckpointError(
        f"{key} has no name in the released class-query detector; is it another model?"
    )
