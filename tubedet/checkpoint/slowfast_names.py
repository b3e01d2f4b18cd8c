"""Key names of PySlowFast's SlowFast and SlowOnly: its own, and Caffe2's, from which it came."""

import re

from .key_layout import ReleasedLayout

_STATISTICS = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
# "riv" is the variance itself, not its inverse.
_NORM = r"bn_(s|b|rm|riv)"


def _weight(norm: str | None) -> str:
    """Return the end of a name: of a norm's vector, or of a convolution."""
    return f"bn.{_STATISTICS[norm]}" if norm else "conv.weight"


def _stem(match: re.Match) -> str:
    return f"backbone.s1.pathway{int(bool(match[1]))}_stem.{_weight(match[2])}"


def _fusion(match: re.Match) -> str:
    """Name a fusion after the stage before it; before the first one is the stem."""
    end = _weight(match[2]).replace("conv.", "conv_f2s.")
    return f"backbone.s{match[1] or 1}_fuse.{end}"


def _branch(match: re.Match) -> str:
    branch = "branch1" if match[4] == "1" else f"branch2.{match[4][1]}"
    end = f"_bn.{_STATISTICS[match[5]]}" if match[5] else ".weight"
    return f"backbone.s{match[2]}.pathway{int(bool(match[1]))}_res{match[3]}.{branch}{end}"


def _non_local(match: re.Match) -> str:
    if match[3]:
        end = f"conv_{match[3]}.{'weight' if match[4] == 'w' else 'bias'}"
    else:
        end = _weight(match[5])
    return f"backbone.s{match[1]}.pathway0_nonlocal{match[2]}.{end}"


SLOWFAST_CAFFE2 = ReleasedLayout(
    name="SlowFast's Caffe2 names",
    signature=("conv1_w", "res2_0_branch2a_w"),
    rules=(
        # "t_" is the fast pathway.
        (f"^(t_)?(?:conv1_w|res_conv1_{_NORM})$", _stem),
        (rf"^t_(?:pool1|res(\d)_\d+_branch2c_bn)_subsample_(?:w|{_NORM})$", _fusion),
        (rf"^(t_)?res(\d)_(\d+)_branch(1|2[abc])_(?:w|{_NORM})$", _branch),
        (rf"^nonlocal_conv(\d)_(\d+)_(?:(theta|phi|g|out)_(w|b)|{_NORM})$", _non_local),
    ),
    ignored=r"^pred_|momentum|(^|_)lr(_|$)|^model_iter$|^__",
    modules=(),
)
SLOWFAST = ReleasedLayout(
    name="PySlowFast's names",
    signature=("s1.pathway0_stem.conv.weight", "s2.pathway0_res0.branch2.a.weight"),
    rules=((r"^(?=s[1-5](_fuse)?\.)", "backbone."),),
    # Classifier of clips.
    ignored=r"^head\.",
    modules=(),
)
