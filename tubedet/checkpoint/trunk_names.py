"""Key names of published ir-CSN backbones, and how to tell them from other networks.

None of these files says which strides, pooling and batch-norm epsilon its network had. VMZ's and
mmaction2's networks have ours (epsilon 1e-3); pytorchvideo's CSN-101 has epsilon 1e-5, no pooling
after the stem and temporal strides 1, 2, 2, 1, so that its weights are a start for training here
and no equal network.
"""

import re
from bisect import bisect
from collections.abc import Iterable

from .key_layout import ReleasedLayout
from .safe_loading import CheckpointError


def rename_stage(match: re.Match) -> str:
    """``layer1.`` to ``layer4.`` (whatever precedes) become ``backbone.res2.`` to ``res5.``."""
    return f"backbone.res{int(match[1]) + 1}."


# TubeR's CSN-50 has a classifier that nothing uses: renamed, so that it can be written back, but
# not loaded.
UNUSED_CLASSIFIER = "backbone.out_fc."

# TubeR's trunk numbers the convolutions of a bottleneck 1, 3, 4, like Caffe2's VMZ.
_POSITION = {"1": "1", "3": "2", "4": "3", "a": "1", "b": "2", "c": "3"}
_KIND = {"conv": "conv", "bn": "norm", "norm": "norm", "spatbn": "norm"}

TUBER_TRUNK_RULES = (
    (r"^backbone\.body\.conv1\.", "backbone.stem.conv."),
    (r"^backbone\.body\.bn1\.", "backbone.stem.norm."),
    (r"^backbone\.body\.layer(\d)\.", rename_stage),
    (
        r"^(backbone\.res\d\.\d+\.)(conv|bn)([134])\.",
        lambda m: f"{m[1]}{_KIND[m[2]]}{_POSITION[m[3]]}.",
    ),
    (r"^(backbone\.res\d\.\d+\.)down_sample\.", r"\1shortcut."),
    (r"^backbone\.body\.out_fc\.", UNUSED_CLASSIFIER),
)
# The same the other way round: from our names to TubeR's.
_PLACE_IN_TUBER = {"1": "1", "2": "3", "3": "4"}
_KIND_IN_TUBER = {"conv": "conv", "norm": "bn"}
TUBER_TRUNK_NAMES = (
    (r"^backbone\.stem\.conv\.", "backbone.body.conv1."),
    (r"^backbone\.stem\.norm\.", "backbone.body.bn1."),
    (f"^{re.escape(UNUSED_CLASSIFIER)}", "backbone.body.out_fc."),
    (
        r"^backbone\.res(\d)\.(\d+)\.(conv|norm)([123])\.",
        lambda m: (
            f"backbone.body.layer{int(m[1]) - 1}.{m[2]}."
            f"{_KIND_IN_TUBER[m[3]]}{_PLACE_IN_TUBER[m[4]]}."
        ),
    ),
    (
        r"^backbone\.res(\d)\.(\d+)\.shortcut\.",
        lambda m: f"backbone.body.layer{int(m[1]) - 1}.{m[2]}.down_sample.",
    ),
)


def _stage_names(keys: Iterable[str]) -> dict[str, str]:
    """Caffe2 counts the blocks through all stages; the first of a stage has a shortcut."""
    matches = {key: re.match(r"backbone\.block(\d+)\.(.*)", key) for key in keys}
    numbered = {key: (int(m[1]), m[2]) for key, m in matches.items() if m}
    starts = sorted({block for block, rest in numbered.values() if rest.startswith("shortcut")})
    names = {}
    for key, (block, rest) in numbered.items():
        stage = bisect(starts, block) - 1
        if stage >= 0:
            names[key] = f"backbone.res{stage + 2}.{block - starts[stage]}.{rest}"
    return names


_CAFFE2_STATISTICS = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
CAFFE2 = ReleasedLayout(
    name="VMZ's Caffe2 names",
    signature=("conv1_w", "comp_0_conv_1_w", "comp_0_conv_4_w"),
    rules=(
        (r"^conv1_w$", "backbone.stem.conv.weight"),
        (r"^conv1_spatbn_relu_", "backbone.stem.norm_"),
        (
            r"^comp_(\d+)_(conv|spatbn)_([134])_",
            lambda m: f"backbone.block{m[1]}.{_KIND[m[2]]}{_POSITION[m[3]]}_",
        ),
        (r"^shortcut_projection_(\d+)_spatbn_", r"backbone.block\1.shortcut.1_"),
        (r"^shortcut_projection_(\d+)_w$", r"backbone.block\1.shortcut.0.weight"),
        (r"^(backbone\..*conv\d)_w$", r"\1.weight"),
        # "riv" is the variance itself, not its inverse.
        (r"^(backbone\..*)_(s|b|rm|riv)$", lambda m: f"{m[1]}.{_CAFFE2_STATISTICS[m[2]]}"),
    ),
    ignored=r"momentum|(^|_)lr(_|$)|^model_iter$|^last_out_|^__",
    renumber=_stage_names,
)
MMACTION = ReleasedLayout(
    name="mmaction2's names",
    signature=("conv1.conv.weight", "layer1.0.conv1.conv.weight", "layer1.0.conv3.conv.weight"),
    rules=(
        (r"^conv1\.conv\.", "backbone.stem.conv."),
        (r"^conv1\.bn\.", "backbone.stem.norm."),
        (r"^layer(\d)\.", rename_stage),
        # The depthwise convolution is the only entry of a sequence.
        (r"\.conv2\.[01]\.", ".conv2."),
        (r"\.conv([123])\.conv\.", r".conv\1."),
        (r"\.conv([123])\.bn\.", r".norm\1."),
        (r"\.downsample\.conv\.", ".shortcut.0."),
        (r"\.downsample\.bn\.", ".shortcut.1."),
    ),
    ignored=r"^(cls_head|data_preprocessor)\.",
    prefix="backbone.",
)
TORCHVISION = ReleasedLayout(
    name="torch.hub names (VMZ, ig65m)",
    signature=("stem.0.weight", "layer1.0.conv1.0.weight", "layer1.0.conv3.0.weight"),
    rules=(
        (r"^stem\.0\.", "backbone.stem.conv."),
        (r"^stem\.1\.", "backbone.stem.norm."),
        (r"^layer(\d)\.", rename_stage),
        (r"\.conv([123])\.0\.", r".conv\1."),
        (r"\.conv([123])\.1\.", r".norm\1."),
        (r"\.downsample\.", ".shortcut."),
    ),
    ignored=r"^fc\.",
)
PYTORCHVIDEO = ReleasedLayout(
    name="pytorchvideo's names",
    signature=("blocks.0.conv.weight", "blocks.1.res_blocks.0.branch2.conv_b.weight"),
    rules=(
        (r"^blocks\.0\.", "backbone.stem."),
        (r"^blocks\.(\d)\.res_blocks\.", rename_stage),
        (r"\.branch1_conv\.", ".shortcut.0."),
        (r"\.branch1_norm\.", ".shortcut.1."),
        (r"\.branch2\.(conv|norm)_([abc])\.", lambda m: f".{m[1]}{_POSITION[m[2]]}."),
    ),
    ignored=r"^blocks\.5\.",
)

_IP_CSN = "an interaction-preserved CSN (ip-CSN), and the backbone here is an ir-CSN"
_R2PLUS1D = "an R(2+1)D network, not a CSN"
_OTHER_NETWORKS = (
    (("layer1.0.conv2.0.conv.weight", "layer1.0.conv2.1.conv.weight"), _IP_CSN),
    (("layer1.0.conv2.0.0.weight", "layer1.0.conv3.0.weight"), _IP_CSN),
    (("comp_0_conv_2_w", "comp_0_conv_4_w"), _IP_CSN),
    (("stem.0.weight", "layer1.0.conv1.0.0.weight"), _R2PLUS1D),
    (("conv1_middle_w",), _R2PLUS1D),
)


def refuse_other_networks(keys: Iterable[str]) -> None:
    """Stop at backbones whose names resemble a CSN's.

    Raises:
        CheckpointError: naming the network.
    """
    bare = {key.removeprefix("backbone.") for key in keys}
    for signature, network in _OTHER_NETWORKS:
        if bare.issuperset(signature):
            raise CheckpointError(f"the weights are those of {network}")
