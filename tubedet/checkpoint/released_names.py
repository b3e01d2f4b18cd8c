"""Key names of published checkpoints, and what they are called here.

Sparse R-CNN is not among them: the names of its head and pyramid are the published ones.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ReleasedLayout:
    """How a published implementation names its weights.

    Attributes:
        name: whose names they are, for messages.
        signature: keys that all of its checkpoints have and ours have not.
        rules: (pattern, replacement) pairs, applied in this order to every key.
        ignored: pattern of the keys left out on purpose.
        prefix: what all keys start with, if anything.
    """

    name: str
    signature: tuple[str, ...]
    rules: tuple[tuple[str, str | Callable], ...]
    ignored: str
    prefix: str = ""


def _conv_or_norm(name: str) -> str:
    return "norm" if name == "bn" else name


TUBER = ReleasedLayout(
    name="released TubeR's names",
    signature=("backbone.body.conv1.weight", "class_embed_b.weight"),
    rules=(
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
    ),
    # A classifier of CSN-50 that the released model never uses.
    ignored=r"^backbone\.body\.out_fc\.",
)

_DEFORMABLE_RULES = (
    (r"^bbox_embed\.", "box_heads."),
    (r"^class_embed\.", "action_heads."),
)
DEFORMABLE_DETR = ReleasedLayout(
    name="Deformable DETR's names",
    signature=("transformer.level_embed", "bbox_embed.0.layers.0.weight"),
    rules=_DEFORMABLE_RULES,
    # The decoder holds the heads a second time.
    ignored=r"^transformer\.decoder\.(bbox|class)_embed\.",
)
SEQFORMER = ReleasedLayout(
    name="SeqFormer's names",
    signature=("detr.transformer.level_embed", "detr.bbox_embed.0.layers.0.weight"),
    rules=_DEFORMABLE_RULES,
    # Besides: a projection that the encoder never uses, and a bias that a softmax cancels.
    ignored=DEFORMABLE_DETR.ignored
    + r"|^transformer\.encoder\..*\.output_proj_box\.|\.time_attention_weights\.bias$",
    prefix="detr.",
)
LAYOUTS = (TUBER, DEFORMABLE_DETR, SEQFORMER)


def released_layout(keys) -> ReleasedLayout | None:
    """The layout these keys (without ``module.``) belong to, or None: they are ours."""
    for layout in LAYOUTS:
        if all(key in keys for key in layout.signature):
            return layout
    return None


def convert_released(
    weights: dict[str, torch.Tensor], layout: ReleasedLayout
) -> tuple[dict[str, torch.Tensor], dict[str, str], list[str]]:
    """Rename published weights to tubedet's names.

    Args:
        weights: published names without the ``module.`` prefix.
        layout: whose names they are.

    Returns:
        the renamed weights; published name of each of our names; published keys that are left out
        on purpose.
    """
    converted, sources, ignored = {}, {}, []
    for key, value in weights.items():
        ours = key.removeprefix(layout.prefix)
        if re.search(layout.ignored, ours):
            ignored.append(key)
            continue
        for pattern, replacement in layout.rules:
            ours = re.sub(pattern, replacement, ours)
        converted[ours] = value
        sources[ours] = key
    return converted, sources, ignored
