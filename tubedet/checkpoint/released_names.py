"""Key names of published detectors, and finding out whose names a checkpoint uses."""

import torch

from .class_query_names import CLASS_QUERY
from .key_layout import NamedWeights, ReleasedLayout, convert_released
from .slowfast_names import SLOWFAST, SLOWFAST_CAFFE2
from .trunk_names import (
    CAFFE2,
    MMACTION,
    PYTORCHVIDEO,
    TORCHVISION,
    TUBER_TRUNK_RULES,
    refuse_other_networks,
)
from .vit_names import (
    STMIXER,
    VIDEOMAE,
    VIT_ACTION_DETECTOR,
    VIT_BODY,
    VIT_CLASSIFIER,
    join_attention_biases,
)

TUBEDET = ReleasedLayout(name="tubedet's names")

_TUBER_RULES = (
    *TUBER_TRUNK_RULES,
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
)
TUBER = ReleasedLayout(
    name="released TubeR's names",
    signature=("backbone.body.conv1.weight", "backbone.body.layer1.0.conv4.weight"),
    rules=_TUBER_RULES,
)

# What the image detectors below have instead of a CSN.
_IMAGE_TRUNK = r"^backbone\.0\.body\."
DETR = ReleasedLayout(
    name="DETR's names",
    signature=(
        "transformer.decoder.layers.0.multihead_attn.in_proj_weight",
        "bbox_embed.layers.0.weight",
        "query_embed.weight",
    ),
    rules=(
        (r"\.multihead_attn\.", ".cross_attn."),
        (r"^bbox_embed\.", "box_head."),
        (r"^class_embed_b\.", "person_head."),  # of one trained on persons for TubeR
    ),
    # The classifier's classes are COCO's, and the projection is that of an image backbone.
    ignored=_IMAGE_TRUNK + r"|^(class_embed|input_proj)\.",
    modules=("transformer", "box_head", "query_embed"),
)

_DEFORMABLE_RULES = (
    (r"^bbox_embed\.(\d)", r"box_heads.\1"),
    (r"^class_embed\.(\d)", r"action_heads.\1"),
)
# The decoder holds the heads a second time.
_SECOND_HEADS = r"|^transformer2?\.decoder\.(bbox|class)_embed\."
# A projection that the encoder never uses, and a bias that a softmax cancels.
_WITHOUT_EFFECT = r"|^transformer\.encoder\..*\.output_proj_box\.|\.time_attention_weights\.bias$"
_DEFORMABLE_MODULES = ("transformer", "box_heads", "query_embed")
DEFORMABLE_DETR = ReleasedLayout(
    name="Deformable DETR's names",
    signature=("transformer.level_embed", "bbox_embed.0.layers.0.weight"),
    rules=_DEFORMABLE_RULES,
    ignored=_IMAGE_TRUNK + _SECOND_HEADS,
    modules=_DEFORMABLE_MODULES,
)
_SEQFORMER_SIGNATURE = (
    "transformer.level_embed",
    "transformer.decoder.layers.0.self_attn_box.in_proj_weight",
    "bbox_embed.0.layers.0.weight",
)
SEQFORMER = ReleasedLayout(
    name="SeqFormer's names",
    signature=_SEQFORMER_SIGNATURE,
    rules=_DEFORMABLE_RULES,
    ignored=_IMAGE_TRUNK + _SECOND_HEADS + _WITHOUT_EFFECT,
    prefix="detr.",
    modules=_DEFORMABLE_MODULES,
)
_DYNAMIC_LAYER = "head.head_series.0.inst_interact.dynamic_layer.weight"
SPARSE_RCNN = ReleasedLayout(
    # Head, proposals and pyramid have their published names here.
    name="Sparse R-CNN's names",
    signature=(_DYNAMIC_LAYER, "backbone.bottom_up.stem.conv1.weight"),
    ignored=r"^backbone\.bottom_up\.(stem|res\d)\.|^criterion\.",
    modules=("init_proposal_features", "init_proposal_boxes", "head"),
)

# jinsingsangsung/tuber: the other architectures on TubeR's trunk, with a pooling built in vain.
_FORK_TRUNK = "backbone.0.body.layer1.0.conv4.weight"
_FORK_RULES = (
    (r"^backbone\.0\.", "backbone."),
    (r"^transformer1\.", "detr."),
    (r"^transformer2\.", "transformer."),
    (r"^conv3d_(\d)\.", r"temporal_collapse.\1."),
    (r"^query_embed2\.", "query_content."),
    *_DEFORMABLE_RULES,
    *_TUBER_RULES,
)
_FORK_IGNORED = (
    r"^backbone\.0\.(body\.out_fc|query_pool|pool_decoder)\." + _SECOND_HEADS + _WITHOUT_EFFECT
)
FORK_D2_D3 = ReleasedLayout(
    name="the public D2 and D3's names",
    signature=(_FORK_TRUNK, "conv3d_0.0.0.weight", "class_embed.0.weight"),
    rules=_FORK_RULES,
    # TubeR's action branch, which is built and never called.
    ignored=_FORK_IGNORED + r"|^(class_proj|encoder|cross_attn|class_fc)\.",
)
FORK_D4 = ReleasedLayout(
    name="the public D4's names",
    signature=(_FORK_TRUNK, "conv3d_0.0.0.weight", "class_fc.weight"),
    rules=_FORK_RULES,
    ignored=_FORK_IGNORED,
)
FORK_SEQFORMER = ReleasedLayout(
    name="the public action SeqFormer's names",
    signature=(_FORK_TRUNK, *_SEQFORMER_SIGNATURE),
    rules=_FORK_RULES,
    ignored=_FORK_IGNORED,
)
FORK_SPARSE_RCNN = ReleasedLayout(
    name="the public action Sparse R-CNN's names",
    signature=(_FORK_TRUNK, _DYNAMIC_LAYER),
    rules=_FORK_RULES,
    # Projections of single levels, where there is a pyramid here.
    ignored=_FORK_IGNORED + r"|^input_proj\.",
)

# The first that fits counts.
LAYOUTS = (
    CLASS_QUERY,
    STMIXER,
    FORK_D2_D3,
    FORK_D4,
    FORK_SEQFORMER,
    FORK_SPARSE_RCNN,
    TUBER,
    SEQFORMER,
    DEFORMABLE_DETR,
    DETR,
    SPARSE_RCNN,
    CAFFE2,
    MMACTION,
    TORCHVISION,
    PYTORCHVIDEO,
    SLOWFAST_CAFFE2,
    SLOWFAST,
    VIDEOMAE,
    VIT_CLASSIFIER,
    VIT_ACTION_DETECTOR,
    VIT_BODY,
)


def released_layout(keys) -> ReleasedLayout:
    """Return the layout that these keys (without ``module.``) belong to; ours if no other.

    Raises:
        CheckpointError: for the backbone of a network that does not exist here.
    """
    keys = set(keys)
    refuse_other_networks(keys)
    for layout in LAYOUTS:
        if layout.fits(keys):
            return layout
    return TUBEDET


def to_tubedet_names(weights: dict[str, torch.Tensor]) -> NamedWeights:
    """Recognise whose names weights have, and rename them.

    Args:
        weights: as read from a checkpoint, with or without DistributedDataParallel's ``module.``.

    Raises:
        CheckpointError: see :func:`released_layout`, :func:`convert_released` and
            :func:`join_attention_biases`.
    """
    if all(key.startswith("module.") for key in weights):
        weights = {key.removeprefix("module."): value for key, value in weights.items()}
    named = convert_released(weights, released_layout(weights))
    if named.layout is not TUBEDET:  # by our names, it may be a backbone of somebody's own
        join_attention_biases(named)
    return named
