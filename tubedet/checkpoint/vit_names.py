"""Key names of published video ViTs: bodies, classifiers, and detectors of given boxes.

VideoMAE (MCG-NJU/VideoMAE, OpenGVLab/VideoMAEv2) and UMT (OpenGVLab/unmasked_teacher) share the
names within the body. Files differ in what is around it, and in the last norm: a classifier that
takes the mean of the tokens has none, so that a detector starts with a new one. The classifier's
own ``fc_norm`` comes after the mean and is another operation.
"""

import re

import torch

from .key_layout import NamedWeights, ReleasedLayout
from .safe_loading import CheckpointError

_BODY = r"(?=(patch_embed|blocks|norm)\.|pos_embed$)"
# Where our backbones have a ViT: alone, or under a pyramid.
BODY_PLACE = r"^backbone\.(body\.)?" + _BODY
_PATCHES = "patch_embed.proj.weight"
_ATTENTION = "blocks.0.attn.qkv.weight"
_LAST_NORM = r"^norm\."
_ACTIONS = "action_head.fc."  # of RoIActionDetector

VIDEOMAE = ReleasedLayout(
    name="self-supervised VideoMAE's names",
    signature=(f"encoder.{_PATCHES}", f"encoder.{_ATTENTION}"),
    rules=((r"^encoder\." + _BODY, "backbone."),),
    ignored=r"^(decoder\.|encoder_to_decoder\.|mask_token$)",
    modules=(),
)
VIT_CLASSIFIER = ReleasedLayout(
    name="a video ViT classifier's names",
    signature=(_PATCHES, _ATTENTION, "fc_norm.weight"),
    rules=((f"^{_BODY}", "backbone."),),
    ignored=r"^(fc_norm|head)\.",
    new=_LAST_NORM,
    prefix="backbone.",
    modules=(),
)
VIT_ACTION_DETECTOR = ReleasedLayout(
    name="VideoMAE-Action-Detection's names",
    signature=(_PATCHES, _ATTENTION, "norm.weight", "head.weight"),
    rules=((f"^{_BODY}", "backbone."), (r"^head\.", "action_head.fc.")),
    modules=(),
)
VIT_BODY = ReleasedLayout(
    name="VideoMAE's names",
    signature=(_PATCHES, _ATTENTION),
    rules=((f"^{_BODY}", "backbone."),),
    ignored=r"^head\.",
    new=_LAST_NORM,
    modules=(),
)
STMIXER = ReleasedLayout(
    name="STMixer's names",
    signature=("stm_head.init_spatial_queries.weight", "stm_head.init_temporal_queries.weight"),
    rules=(
        (r"^backbone\." + _BODY, "backbone.body."),
        (r"^backbone\.(?=s[1-5](_fuse)?\.)", "backbone.body."),  # SlowFast, SlowOnly
        (r"^lateral_convs\.", "backbone.lateral_convs."),
    ),
    # The class weights of its loss.
    ignored=r"^stm_head\.criterion\.",
    modules=("stm_head",),
)


def join_attention_biases(named: NamedWeights, source: str = "") -> None:
    """Bring the attention of ViTs from elsewhere to the two biases that ours has.

    A bias of the keys adds the same to all products of a query, which a softmax cancels, so that
    of ``qkv.bias`` (3 D) the first and the last third are all that counts.

    Args:
        named: weights by our names, changed in place.
        source: file name for messages, if the caller does not put it there.

    Raises:
        CheckpointError: for attention by cosines (``attn.scale``), which is another operation.
    """
    place = re.compile(r"backbone\.(body\.)?blocks\.\d+\.attn\.")
    for key in [key for key in named.weights if place.match(key)]:
        if key.endswith(".attn.scale"):
            place_in_file = f"{source}: " if source else ""
            raise CheckpointError(
                f"{place_in_file}{named.names_in_file[key]} is of attention by cosines "
                "(CosAttention of VideoMAE v2), which the ViT here does not have; give weights of "
                "usual attention"
            )
        if not key.endswith(".attn.qkv.bias"):
            continue
        bias = named.weights[key]
        stem = key.removesuffix("qkv.bias")
        ours = [f"{stem}q_bias", f"{stem}v_bias"]
        if bias.dim() != 1 or bias.numel() % 3 or named.weights.keys() & set(ours):
            continue
        name = named.names_in_file.pop(key)
        del named.weights[key]
        query, _, value = bias.chunk(3)
        named.weights.update(zip(ours, (query, value)))
        named.names_in_file.update(dict.fromkeys(ours, name))


def to_videomae_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the body of a video ViT to VideoMAE's names, the inverse of reading them.

    Args:
        weights: by our names, of a backbone or of a whole detector.

    Returns:
        the body's tensors; of a detector of given boxes, whose names are known, the classifier too.

    Raises:
        CheckpointError: if there is no such body.
    """
    released = {re.sub(BODY_PLACE, "", k): v for k, v in weights.items() if re.match(BODY_PLACE, k)}
    if _PATCHES not in released:
        raise CheckpointError("there is no video ViT in these weights; is it another model?")
    others = {key: value for key, value in weights.items() if not re.match(BODY_PLACE, key)}
    if set(others) == {f"{_ACTIONS}weight", f"{_ACTIONS}bias"}:
        released |= {key.replace(_ACTIONS, "head.", 1): value for key, value in others.items()}
    return released


def with_tubelet(weights: dict[str, torch.Tensor], tubelet: int) -> dict[str, torch.Tensor]:
    """Bring the patches of a video ViT to another number of frames.

    A kernel of u frames is summed over them for one frame, and one of a frame is repeated and
    divided by u, so that a clip that stands still gives the same tokens as before.

    Args:
        weights: by our names.
        tubelet: frames of a patch, u.

    Returns:
        the same weights, but for the kernel of the patches.

    Raises:
        CheckpointError: if there is no video ViT, or neither number is one.
    """
    kernels = [key for key in weights if re.match(BODY_PLACE, key) and key.endswith(_PATCHES)]
    if not kernels:
        raise CheckpointError("there is no video ViT whose tubelets could be changed")
    changed = dict(weights)
    for key in kernels:
        theirs = weights[key].shape[2]
        if theirs == tubelet:
            continue
        if 1 not in (theirs, tubelet):
            raise CheckpointError(
                f"tubelets of {theirs} frames cannot become those of {tubelet}; one of the two is 1"
            )
        frame = weights[key].sum(2, keepdim=True)
        changed[key] = frame.expand(-1, -1, tubelet, -1, -1) / tubelet
    return changed
