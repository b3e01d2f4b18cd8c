"""Names of the actions that a model is for, according to its config."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from tubedet.checkpoint.classifier_rows import PERSON
from tubedet.data.datasets.custom import ensure_registered

from .data_checks import check_same_actions


def actions_of_data(cfg: CfgNode, names: Iterable[str]) -> tuple[list[str], str] | None:
    """Find the names of a model's actions in the metadata of data sets; none of them is read.

    Args:
        cfg: ``MODEL.NUM_ACTIONS`` says how many they are.
        names: of data sets; a custom one is registered. The first that has as many actions counts.

    Returns:
        the names in the order of the model's columns, and where they come from; of a person
        detector "person" alone. None: no data set has them.
    """
    if cfg.MODEL.PERSON_ONLY:
        return list(PERSON), "a person detector"
    for name in names:
        ensure_registered(name)
        actions = MetadataCatalog.get(name).get("action_names", None) or ()
        if len(actions) == cfg.MODEL.NUM_ACTIONS:
            return list(actions), f"data set {name!r}"
    return None


def checkpointed_actions(cfg: CfgNode, names: Sequence[str]) -> dict[str, Any]:
    """Return what a :class:`~tubedet.checkpoint.TubedetCheckpointer` must know of the actions.

    Args:
        cfg: see :func:`actions_of_data`.
        names: likewise.

    Raises:
        UserError: if a column means different actions in two of the data sets.
    """
    if not cfg.MODEL.PERSON_ONLY:
        check_same_actions(names)
    found = actions_of_data(cfg, names)
    return {} if found is None else dict(zip(("action_names", "actions_from"), found))
