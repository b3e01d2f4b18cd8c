"""Tables of key names, and renaming by them."""

import logging
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
    "refpoint_embed",
    "init_proposal_features",
    "init_proposal_boxes",
    "head",
    "stm_head",
)
NOTHING = r"(?!)"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReleasedLayout:
    """How an implementation names its weights.

    Attributes:
        name: whose names they are, for messages.
        signature: keys, without ``prefix``, that all of its checkpoints have and no others.
        rules: (pattern, replacement) pairs, applied in this order to every key.
        ignored: pattern of the keys left out on purpose, matched before renaming.
        prefix: what keys may start with; removed first.
        second_names: (pattern, replacement) pairs that make a key's other name of keys that name a
            tensor once more. They are left out where the file has that other name.
        new: pattern of what its checkpoints lack by design, within the backbone, such as the last
            norm of a ViT that was trained as a classifier.
        modules: our modules that its checkpoints fill, see :data:`DETECTOR_MODULES`.
        renumber: for names that depend on all keys: given the keys after the rules, our names.
    """

    name: str
    signature: tuple[str, ...] = ()
    rules: tuple[tuple[str, str | Callable], ...] = ()
    ignored: str = NOTHING
    prefix: str = ""
    second_names: tuple[tuple[str, str], ...] = ()
    new: str = NOTHING
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
        begins_anew: our names of what is trained anew whatever the file has, such as the classifier
            of another label set.
        kept_rows: of classifiers that are taken over in part: how many of the model's rows have the
            file's numbers, and how many there are.
    """

    layout: ReleasedLayout
    weights: dict[str, torch.Tensor]
    names_in_file: dict[str, str]
    ignored: list[str] = field(default_factory=list)
    begins_anew: set[str] = field(default_factory=set)
    kept_rows: dict[str, tuple[int, int]] = field(default_factory=dict)

    def rename(self, name: Callable[[str], str]) -> None:
        """Give every weight the name that ``name`` makes of its present one."""
        self.names_in_file = {name(key): value for key, value in self.names_in_file.items()}
        self.weights = {name(key): value for key, value in self.weights.items()}

    def leave_out(self, unwanted: Callable[[str], object]) -> None:
        """Move the weights whose names ``unwanted`` picks to the ignored ones."""
        for key in [key for key in self.weights if unwanted(key)]:
            del self.weights[key]
            self.ignored.append(self.names_in_file.pop(key))


def apply_rules(key: str, rules: Iterable[tuple[str, str | Callable]]) -> str:
    """Rename a key by (pattern, replacement) pairs, one after the other.

    Args:
        key: any name.
        rules: see :class:`ReleasedLayout`.
    """
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key


def convert_released(weights: dict[str, torch.Tensor], layout: ReleasedLayout) -> NamedWeights:
    """Rename published weights to tubedet's names.

    Args:
        weights: published names without the ``module.`` prefix.
        layout: whose names they are.

    Raises:
        CheckpointError: if two keys get the same name.
    """
    renamed, ignored = {}, []
    differing: list[tuple[str, str]] = []
    for key in weights:
        ours = key.removeprefix(layout.prefix)
        if re.search(layout.ignored, ours):
            ignored.append(key)
            continue
        if first := _first_name(key, weights, layout):
            if not torch.equal(weights[key], weights[first]):
                differing.append((first, key))
            ignored.append(key)
            continue
        renamed[key] = apply_rules(ours, layout.rules)
    if differing:
        first, second = differing[0]
        logger.warning(
            f"{len(differing)} tensors are in the file under several names with other numbers; "
            f"those of {first} are taken, not of {second}, and so on"
        )
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


def _first_name(key: str, weights: dict[str, torch.Tensor], layout: ReleasedLayout) -> str | None:
    """Return under which other name the file has the tensor of a key; None: under no other."""
    for pattern, replacement in layout.second_names:
        first = re.sub(pattern, replacement, key)
        if first != key and first in weights:
            return first
    return None
