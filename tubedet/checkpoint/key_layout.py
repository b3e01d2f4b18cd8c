"""Tables of key names, and renaming by them."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch

from .safe_loading import CheckpointError

# Our top-level modules outside the backbone that a detector's weights fill in every data set.
# Those that classify actions are not among them: another label set has another number of actions.
DETECTOR_MODULES = (
    "transformer",
    "detr",
    "box_head",
    "box_heads",
    "query_embed",
    "query_content",
    "init_proposal_features",
    "init_proposal_boxes",
    "head",
)
NOTHING = r"(?!)"


@dataclass(frozen=True)
class ReleasedLayout:
    """How an implementation names its weights.

    Attributes:
        name: whose names they are, for messages.
        signature: keys, without ``prefix``, that all of its checkpoints have and no others.
        rules: (pattern, replacement) pairs, applied in this order to every key.
        ignored: pattern of the keys left out on purpose, matched before renaming.
        prefix: what keys may start with; removed first.
        modules: our modules that its checkpoints fill, see :data:`DETECTOR_MODULES`.
        renumber: for names that depend on all keys: given the keys after the rules, our names.
    """

    name: str
    signature: tuple[str, ...] = ()
    rules: tuple[tuple[str, str | Callable], ...] = ()
    ignored: str = NOTHING
    prefix: str = ""
    modules: tuple[str, ...] = DETECTOR_MODULES
    renumber: Callable[[Iterable[str]], dict[str, str]] | None = None

    def fits(self, keys: Iterable[str]) -> bool:
        """Whether these keys (without ``module.``) are named this way."""
        bare = {key.removeprefix(self.prefix) for key in keys}
        return bool(self.signature) and bare.issuperset(self.signature)


@dataclass
class NamedWeights:
    """Weights under our names.

    Attributes:
        layout: how the file named them.
        weights: by our names.
        names_in_file: the file's name of each of our names.
        ignored: keys of the file that are left out on purpose.
    """

    layout: ReleasedLayout
    weights: dict[str, torch.Tensor]
    names_in_file: dict[str, str]
    ignored: list[str] = field(default_factory=list)

    def rename(self, name: Callable[[str], str]) -> None:
        """Give every weight the name that ``name`` makes of its present one."""
        self.names_in_file = {name(key): value for key, value in self.names_in_file.items()}
        self.weights = {name(key): value for key, value in self.weights.items()}

    def leave_out(self, unwanted: Callable[[str], object]) -> None:
        """Move the weights whose names ``unwanted`` picks to the ignored ones."""
        for key in [key for key in self.weights if unwanted(key)]:
            del self.weights[key]
            self.ignored.append(self.names_in_file.pop(key))


def convert_released(weights: dict[str, torch.Tensor], layout: ReleasedLayout) -> NamedWeights:
    """Rename published weights to tubedet's names.

    Args:
        weights: published names without the ``module.`` prefix.
        layout: whose names they are.

    Raises:
        CheckpointError: if two keys get the same name.
    """
    renamed, ignored = {}, []
    for key in weights:
        ours = key.removeprefix(layout.prefix)
        if re.search(layout.ignored, ours):
            ignored.append(key)
            continue
        for pattern, replacement in layout.rules:
            ours = re.sub(pattern, replacement, ours)
        renamed[key] = ours
    if layout.renumber:
        final = layout.renumber(renamed.values())
        renamed = {key: final.get(ours, ours) for key, ours in renamed.items()}
    names_in_file: dict[str, str] = {}
    for key, ours in renamed.items():
        if ours in names_in_file:
            raise CheckpointError(
                f"{names_in_file[ours]} and {key} both are {ours} by {layout.name}: the file mixes "
                "two networks"
            )
        names_in_file[ours] = key
    converted = {ours: weights[key] for ours, key in names_in_file.items()}
    return NamedWeights(layout, converted, names_in_file, ignored)
