"""Names of the actions which a model knows."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog


def action_names_of(cfg: CfgNode) -> list[str]:
    """Names of the model's actions.

    Args:
        cfg: ``DATASETS.TEST`` names the data set whose metadata are asked; it is not read.

    Returns:
        ``MODEL.NUM_ACTIONS`` names, "action 1" and so on where the data set has other actions; of a
        person detector "person" alone.
    """
    if cfg.MODEL.PERSON_ONLY:
        return ["person"]
    num_actions = cfg.MODEL.NUM_ACTIONS
    for name in cfg.DATASETS.TEST[:1]:
        names = MetadataCatalog.get(name).get("action_names", [])
        if len(names) == num_actions:
            return list(names)
    return [f"action {number}" for number in range(1, num_actions + 1)]
