"""Key names of the released TubeR checkpoints (amazon-science/tubelet-transformer)."""

import re

import torch

# Present in every released TubeR checkpoint and in nothing of ours.
_SIGNATURE = ("backbone.body.conv1.weight", "class_embed_b.weight")

_RULES = [
    (r"^backbone\.body\.conv1\.", "backbone.stem.conv."),
    (r"^backbone\.body\.bn1\.", "backbone.stem.norm."),
    (r"^backbone\.body\.layer(\d)\.", lambda m: f"backbone.res{int(m[1]) + 1}."),
    # The trunk numbers its convolutions 1, 3, 4.
    (r"^(backbone\.res\d\.\d+\.)(conv|bn)1\.", lambda m: f"{m[1]}{_conv_or_norm(m[2])}1."),
    (r"^(backbone\.res\d\.\d+\.)(conv|bn)3\.", lambda m: f"{m[1]}{_conv_or_norm(m[2])}2."),
    (r"^(backbone\.res\d\.\d+\.)(conv|bn)4\.", lambda m: f"{m[1]}{_conv_or_norm(m[2])}3."),
    (r"\.down_sample\.", ".shortcut."),
    (r"^backbone\.query_pool\.", "temporal_pooling.query."),
    (r"^backbone\.pool_decoder\.layers\.0\.", "temporal_pooling.layer."),
    (r"^backbone\.pool_decoder\.norm\.", "temporal_pooling.norm."),
    (r"\.multihead_attn\.", ".cross_attn."),
    (r"^bbox_embed\.", "box_head."),
    (r"^class_embed_b\.", "person_head."),
    (r"^class_fc\.", "action_head.fc."),
    (r"^class_proj\.", "action_head.context_proj."),
    (r"^cross_attn\.", "action_head.cross_attn."),
    (r"^encoder\.layers\.0\.", "action_head.context_encoder."),
    # The released suffixes are swapped: _t attends in space, _s in time.
    (r"\.self_attn_t\.", ".spatial_attn."),
    (r"\.self_attn_s\.", ".temporal_attn."),
    (r"\.norm1_t\.", ".spatial_norm."),
    (r"\.norm1_s\.", ".temporal_norm."),
    (r"^(action_head\.context_encoder)\.norm2\.", r"\1.norm."),
]

# A classifier of CSN-50 that the released model never uses.
_UNUSED = re.compile(r"^backbone\.body\.out_fc\.")


def _conv_or_norm(name: str) -> str:
    return "norm" if name == "bn" else name


def is_released_tuber(keys) -> bool:
    """Whether the keys (without ``module.``) are those of a released TubeR checkpoint."""
    return all(key in keys for key in _SIGNATURE)


def convert_released_tuber(
    weights: dict[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, str], list[str]]:
    """Rename released TubeR weights to tubedet's names.

    Args:
        weights: released names without the ``module.`` prefix.

    Returns:
        the renamed weights; released name of each of our names; released keys that are left out
        on purpose (a classifier the released model never uses).
    """
    converted, sources, ignored = {}, {}, []
    for key, value in weights.items():
        if _UNUSED.match(key):
            ignored.append(key)
            continue
        ours = key
        for pattern, replacement in _RULES:
            ours = re.sub(pattern, replacement, ours)
        converted[ours] = value
        sources[ours] = key
    return converted, sources, ignored
