"""TubeR's weights back under the names of the released code."""

import torch

from .key_layout import apply_rules
from .released_names import TUBER
from .safe_loading import CheckpointError
from .trunk_names import TUBER_TRUNK_NAMES

# The released suffixes are swapped: _t attends in space, _s in time.
_SUFFIX = {"spatial": "t", "temporal": "s"}
_LAYER = {"attn": "self_attn", "norm": "norm1"}
_UNCHANGED = ("transformer.encoder.", "transformer.decoder.", "query_embed.", "input_proj.")
_ENCODER = r"^action_head\.context_encoder\."
_RULES = (
    *TUBER_TRUNK_NAMES,
    (r"^temporal_pooling\.query\.", "backbone.query_pool."),
    (r"^temporal_pooling\.layer\.", "backbone.pool_decoder.layers.0."),
    (r"^temporal_pooling\.norm\.", "backbone.pool_decoder.norm."),
    (r"^((transformer\.decoder|backbone\.pool_decoder)\..*)\.cross_attn\.", r"\1.multihead_attn."),
    (r"^box_head\.", "bbox_embed."),
    (r"^person_head\.", "class_embed_b."),
    (r"^action_head\.fc\.", "class_fc."),
    (r"^action_head\.context_proj\.", "class_proj."),
    (r"^action_head\.cross_attn\.", "cross_attn."),
    (
        _ENCODER + r"(spatial|temporal)_(attn|norm)\.",
        lambda m: f"encoder.layers.0.{_LAYER[m[2]]}_{_SUFFIX[m[1]]}.",
    ),
    (_ENCODER + r"norm\.", "encoder.layers.0.norm2."),
    (_ENCODER, "encoder.layers.0."),
)


def to_tuber_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename tubedet's TubeR weights to the released names, the inverse of reading them.

    Args:
        weights: by our names.

    Returns:
        the same tensors under the released names, with ``module.``, without which the released
        code finds nothing.

    Raises:
        CheckpointError: for a weight that no released TubeR has.
    """
    released = {}
    for key, value in weights.items():
        theirs = apply_rules(key, _RULES)
        back = apply_rules(theirs, TUBER.rules)
        if back != key or (theirs == key and not key.startswith(_UNCHANGED)):
            raise CheckpointError(f"{key} has no name in the released TubeR; is it another model?")
        released[f"module.{theirs}"] = value
    return released
