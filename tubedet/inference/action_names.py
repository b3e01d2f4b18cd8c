"""Names of the actions which a model knows."""

from __future__ import annotations

import logging

from detectron2.config import CfgNode
from torch import nn

from tubedet.engine.model_actions import actions_of_data

logger = logging.getLogger(__name__)


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
    found = actions_of_data(cfg, cfg.DATASETS.TEST[:1])
    in_checkpoint = getattr(model, "action_names", None) or []
    if found is None and len(in_checkpoint) == cfg.MODEL.NUM_ACTIONS:
        found = list(in_checkpoint), "the checkpoint"
    if found is None:
        names = [f"action {number}" for number in range(1, cfg.MODEL.NUM_ACTIONS + 1)]
        found = names, "nowhere: no data set of DATASETS.TEST has as many, nor has the checkpoint"
    names, origin = found
    logger.info(f"names of {len(names)} actions: from {origin}")
    return names
