"""What makes data sets of a run contradict each other, or the model."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from tubedet.checkpoint.action_names import plain_name
from tubedet.data.datasets.custom import ensure_registered, file_stem
from tubedet.errors import UserError

logger = logging.getLogger(__name__)


def check_annotation_files(names: Iterable[str]) -> None:
    """Refuse data sets of AVA's kind that are not there, before anything else is done.

    Args:
        names: of data sets.

    Raises:
        OSError: if a data set has no annotation file; the message says where it was looked for, and
            how to get it.
    """
    for name in names:
        path = MetadataCatalog.get(name).get("groundtruth_csv", None)
        if path is not None and not os.path.isfile(path):
            DatasetCatalog.get(name)  # has the message


def check_same_actions(names: Iterable[str]) -> None:
    """Refuse data sets in which a column of the model means different actions.

    Args:
        names: of the data sets that a run trains on and evaluates.

    Raises:
        UserError: if two of them name their actions differently or in another order; the message
            has the first action that differs.
    """
    first: tuple[str, Sequence[str]] | None = None
    for name in dict.fromkeys(names):
        ensure_registered(name)
        actions = MetadataCatalog.get(name).get("action_names", None)
        if actions is None:
            continue
        if first is None:
            first = name, actions
            continue
        for number, (one, other) in enumerate(zip(first[1], actions), start=1):
            if plain_name(one) != plain_name(other):
                raise UserError(
                    f"action {number} is {one!r} in data set {first[0]!r} and {other!r} in "
                    f"{name!r}; give all data sets of a run the same actions in the same order"
                )


def check_distinct_results(names: Sequence[str]) -> None:
    """Refuse data sets whose predictions would be files of one name.

    Args:
        names: ``DATASETS.TEST``.

    Raises:
        UserError: if there are two.
    """
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(file_stem(name).casefold(), name)
        if other != name or names.count(name) > 1:
            raise UserError(
                f"DATASETS.TEST: the results of {other} and {name} would be the same file, "
                f"{file_stem(name)}_predictions.csv; rename one of the two, or name it once"
            )


def warn_of_mirrored_actions(cfg: CfgNode, names: Iterable[str]) -> None:
    """Warn of actions that a flipped clip turns into another one, such as "left arm up".

    Args:
        cfg: ``INPUT.RANDOM_FLIP`` says whether clips are flipped.
        names: of the data sets to train on.
    """
    if cfg.INPUT.RANDOM_FLIP == "none" or cfg.MODEL.PERSON_ONLY:
        return
    for name in names:
        actions = MetadataCatalog.get(name).get("action_names", None) or ()
        for one, other in mirrored_actions(actions):
            logger.warning(
                f"data set {name!r}: a flipped clip of {one!r} shows {other!r} and keeps its "
                "label; INPUT.RANDOM_FLIP none flips no clip"
            )


def mirrored_actions(actions: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of actions that differ by left and right, or by the sense of a turn, alone.

    Args:
        actions: their names.
    """
    known = {_sides(action): action for action in actions}
    pairs = []
    for plain, action in known.items():
        mirrored = _SIDES.sub(lambda side: _OTHER_SIDE[side[0]], plain)
        if plain < mirrored and mirrored in known:
            pairs.append((action, known[mirrored]))
    return pairs


def warn_of_crowds(
    numbers: Sequence[int], *, num_queries: int, key: str, name: str | None = None
) -> None:
    """Warn of key frames with more persons than the model can find.

    Args:
        numbers: of persons in each key frame.
        num_queries: how many persons the model finds at most.
        key: of the config, that says so.
        name: of the data set to evaluate on; None: the key frames are trained on.
    """
    if message := describe_crowds(numbers, num_queries=num_queries, key=key):
        what = "the others count as background" if name is None else "the others are missed"
        logger.warning(f"{f'data set {name!r}: ' if name else ''}{message}: {what}; raise the key")


def describe_crowds(numbers: Sequence[int], *, num_queries: int, key: str) -> str | None:
    """Say how many key frames have more persons than the model can find; None if none has.

    Args:
        numbers: of persons in each key frame.
        num_queries: how many persons the model finds at most.
        key: of the config, that says so.
    """
    crowded = [number for number in numbers if number > num_queries]
    if not crowded:
        return None
    return (
        f"{len(crowded)} of {len(numbers)} key frames have more persons than {key} "
        f"{num_queries}, up to {max(crowded)}"
    )


# Names with the words exchanged are looked for among the others: "bright" has no partner "bleft".
_OTHER_SIDE = {"left": "right", "right": "left", "l": "r", "r": "l", "cw": "ccw", "ccw": "cw"}
_SIDES = re.compile(r"left|right|(?<![a-z])(?:l|r|cw|ccw)(?![a-z])")
_TURNS = (
    (re.compile(r"(?:counter|anti)[ _-]*clockwise"), "ccw"),
    (re.compile(r"clockwise"), "cw"),
)


def _sides(action: str) -> str:
    plain = plain_name(action)
    for pattern, short in _TURNS:
        plain = pattern.sub(short, plain)
    return plain
