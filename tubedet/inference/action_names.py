"""Names of the actions which a model knows."""

from __future__ import annotations

import difflib
import logging
from collections import Counter
from collections.abc import Sequence

from detectron2.config import CfgNode
from torch import nn

from tubedet.engine.model_actions import actions_of_data
from tubedet.errors import UserError

logger = logging.getLogger(__name__)

_MAX_NAMED = 8  # actions in a message


def action_names_of(cfg: CfgNode, model: nn.Module | None = None) -> list[str]:
    """Names of the model's actions; one line of the log says where they come from.

    Args:
        cfg: ``DATASETS.TEST`` names the data set whose metadata are asked; it is not read.
        model: with the names of its checkpoint, see :func:`tubedet.load_model`, which count where
            the data set has none.

    Returns:
        ``MODEL.NUM_ACTIONS`` names, "action 1" and so on where nothing has them; of a person
        detector "person" alone.
    """
    names, origin = names_and_origin(cfg, model)
    logger.info(f"names of {len(names)} actions: from {origin}")
    return names


def names_and_origin(cfg: CfgNode, model: nn.Module | None = None) -> tuple[list[str], str]:
    """Return the names of :func:`action_names_of`, and where they come from; nothing is logged.

    Args:
        cfg: see :func:`action_names_of`.
        model: likewise.
    """
    found = actions_of_data(cfg, cfg.DATASETS.TEST[:1])
    in_checkpoint = getattr(model, "action_names", None) or []
    if found is None and len(in_checkpoint) == cfg.MODEL.NUM_ACTIONS:
        found = list(in_checkpoint), "the checkpoint"
    if found is None:
        names = numbered_actions(cfg.MODEL.NUM_ACTIONS)
        found = names, "nowhere: no data set of DATASETS.TEST has as many, nor has the checkpoint"
    return found


def numbered_actions(num_actions: int) -> list[str]:
    """Return "action 1" and so on, for actions without names.

    Args:
        num_actions: A, how many.
    """
    return [f"action {number}" for number in range(1, num_actions + 1)]


def short_action_names(action_names: Sequence[str]) -> list[str]:
    """Names without their remarks in parentheses, where they stay different from each other.

    Args:
        action_names: e.g. "talk to (e.g., self, a person, a group)", "kick (a person)".

    Returns:
        e.g. "talk to", and "kick (a person)" if "kick (an object)" is another action.
    """
    short = [name.partition(" (")[0] for name in action_names]
    count = Counter(short)
    return [s if count[s] == 1 else name for s, name in zip(short, action_names)]


def find_actions(action_names: Sequence[str], wanted: str | Sequence[str]) -> list[int]:
    """Return which columns of the action scores have the wanted names.

    Args:
        action_names: A names.
        wanted: one of them or several, each once in the result; capitals and remarks in
            parentheses may differ.

    Raises:
        UserError: for a name that no action has.
    """
    short = short_action_names(action_names)
    columns: dict[str, int] = {}
    for column, names in enumerate(zip(action_names, short)):
        for name in names:
            columns.setdefault(name.casefold(), column)
    found = {}
    for name in [wanted] if isinstance(wanted, str) else wanted:
        if name.casefold() not in columns:
            near = difflib.get_close_matches(name.casefold(), columns, n=1)
            if near:
                hint = f"did you mean {short[columns[near[0]]]!r}?"
            else:
                more = f" and {len(short) - _MAX_NAMED} more" if len(short) > _MAX_NAMED else ""
                hint = f"the model knows {', '.join(map(repr, short[:_MAX_NAMED]))}{more}"
            raise UserError(f"no action {name!r} to explain; {hint}")
        found[columns[name.casefold()]] = name
    return list(found)
