"""Putting the rows of a classifier in the order of a model's actions."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from .action_names import agreeing_places, match_columns, told_apart
from .key_layout import NamedWeights
from .safe_loading import CheckpointError

logger = logging.getLogger(__name__)

# What a classifier that does not fit leads to: it begins anew in a training, and is an error where
# the model is used as it is, or goes on with an optimiser that knows its rows.
Use = Literal["training", "resumed training", "detection"]
_CLASSIFIER = re.compile(
    r"(action_head\.fc|action_heads\.\d+|head\..*\.class_logits"
    r"|stm_head\..*\.fc_action)\.(weight|bias)$"
    r"|transformer\.decoder\.class_queries\.weight$"
).match
# A row is all that tells a class from the others, so those of known names are worth keeping.
_CLASS_QUERIES = "transformer.decoder.class_queries.weight"
PERSON = ["person"]


def arrange_classifier(
    named: NamedWeights,
    own: Mapping[str, torch.Tensor],
    *,
    theirs: Sequence[str] | None,
    ours: Sequence[str] | None,
    ours_from: str,
    source: str,
    use: Use,
    first_row: int = 0,
) -> None:
    """Make row k of a file's classifiers that of the model's action k, and say what was done.

    Args:
        named: changed in place.
        own: the state of the model, by our names.
        theirs: actions of the file's rows; None: unknown, rows stay as they are.
        ours: actions that the model is for; likewise.
        ours_from: where they come from, for messages.
        source: file name for messages.
        use: what the model is for.
        first_row: that of the model's first action; rows before it stand for none.

    Raises:
        CheckpointError: if that cannot be done and ``use`` needs it; the message has both names.
    """
    keys = [key for key in named.weights if _CLASSIFIER(key)]
    if theirs is not None and ours is not None:
        difference = told_apart(theirs, ours, ours_from)
        if any(map(_CLASSIFIER, own)):
            _arrange(named, own, keys, theirs, ours, difference, source, use, first_row)
        elif list(ours) != PERSON and len(theirs) == len(ours):
            columns, _ = match_columns(theirs, ours)
            if columns != list(range(len(ours))):
                raise CheckpointError(
                    f"{source}: {difference}, and the classifier of this architecture is not known "
                    "here; give the data set the file's actions in the file's order"
                )
    for key in keys:
        if key not in own or key not in named.weights:
            continue
        if named.weights[key].shape == own[key].shape:
            continue
        if use == "training":
            named.begins_anew.add(key)
        if use == "detection":
            shapes = [list(tensor.shape) for tensor in (named.weights[key], own[key])]
            raise CheckpointError(
                f"{source}: {key} is {shapes[0]} in the file and {shapes[1]} in the model, so "
                "actions would be told at random; give MODEL.NUM_ACTIONS (and "
                "MODEL.EXCLUSIVE_ACTIONS) the values of that training"
            )


def count_rows(weights: Mapping[str, torch.Tensor]) -> int:
    """Return the number of rows of a detector's classifiers; 0: it has none.

    Args:
        weights: by our names.
    """
    return max((len(value) for key, value in weights.items() if _CLASSIFIER(key)), default=0)


def _arrange(
    named: NamedWeights,
    own: Mapping[str, torch.Tensor],
    keys: list[str],
    theirs: Sequence[str],
    ours: Sequence[str],
    difference: str,
    source: str,
    use: Use,
    first_row: int,
) -> None:
    columns, renamed = match_columns(theirs, ours)
    is_moved = columns is None or columns != list(range(len(theirs)))
    if is_moved and use == "resumed training":
        raise CheckpointError(
            f"{source}: {difference}; a training goes on with the actions that it began with, in "
            "their order"
        )
    if columns is None and use == "detection":
        raise CheckpointError(
            f"{source}: {difference}; evaluation and detection need a data set of actions that the "
            "file knows, or none (DATASETS.TEST, MODEL.NUM_ACTIONS)"
        )
    one_by_one = use == "training" and _CLASS_QUERIES in keys and _CLASS_QUERIES in own
    if one_by_one and (columns is None or renamed):
        _keep_agreeing(named, own[_CLASS_QUERIES], theirs, ours, f"{source}: {difference}")
    elif columns is None:
        logger.warning(f"{source}: {difference}; the classifier of actions begins anew")
        _begin_anew(named, keys)
    elif is_moved:
        logger.info(f"{source}: {difference}; rows of the classifier are matched by name")
        for key in keys:
            named.weights[key] = _rows(
                named.weights[key], columns, len(theirs), f"{source}: {key}", first_row
            )
    elif renamed:
        pairs = ", ".join(f"{one!r} is {other!r}" for one, other in renamed[:5])
        more = f" and {len(renamed) - 5} more" if len(renamed) > 5 else ""
        logger.warning(f"{source}: {difference}; taken for the same: {pairs}{more}")


def _begin_anew(named: NamedWeights, keys: Sequence[str]) -> None:
    named.leave_out(set(keys).__contains__)
    named.begins_anew |= set(keys)


def _keep_agreeing(
    named: NamedWeights,
    own: torch.Tensor,
    theirs: Sequence[str],
    ours: Sequence[str],
    difference: str,
) -> None:
    """Take the class queries of the actions whose names agree; the others stay as they began."""
    value = named.weights[_CLASS_QUERIES]
    _check_rows(value, len(theirs), f"{difference}; {_CLASS_QUERIES}")
    places = agreeing_places(theirs, ours)
    if not places or own.shape[1:] != value.shape[1:] or own.shape[0] < len(ours):
        logger.warning(f"{difference}; the queries of all actions begin anew")
        _begin_anew(named, [_CLASS_QUERIES])
        return
    logger.warning(
        f"{difference}; the queries of {len(places)} of {len(ours)} actions are found by name, the "
        "others begin anew"
    )
    started = own.detach().to("cpu", value.dtype, copy=True)
    started[list(places)] = value[list(places.values())]
    named.weights[_CLASS_QUERIES] = started
    named.kept_rows[_CLASS_QUERIES] = len(places), len(ours)


def _rows(
    value: torch.Tensor, columns: list[int], num_theirs: int, place: str, first_row: int
) -> torch.Tensor:
    """Pick rows; "no object" is the last of exclusive actions."""
    before, rows = value[:0], value
    if value.dim() and len(value) == first_row + num_theirs:
        before, rows = value[:first_row], value[first_row:]
    num_rows = _check_rows(rows, num_theirs, place)
    return torch.cat((before, rows[columns + list(range(num_theirs, num_rows))]))


def _check_rows(value: torch.Tensor, num_theirs: int, place: str) -> int:
    """Return the number of rows, if the names of a file fit them."""
    num_rows = value.shape[0] if value.dim() else 0
    if num_rows not in (num_theirs, num_theirs + 1):
        raise CheckpointError(f"{place} has {num_rows} rows, but the file names {num_theirs}")
    return num_rows
