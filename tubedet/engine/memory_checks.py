"""Whether the memories of data sets are there, and made with the weights that read them."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tubedet.agreement import agreed_errors
from tubedet.data.memory_store import MemoryStore
from tubedet.errors import UserError
from tubedet.modeling.memory_weights import base_fingerprint


def check_memory_config(cfg: CfgNode) -> None:
    """Refuse a training or evaluation with long-term context that has no store.

    Args:
        cfg: the config.

    Raises:
        UserError: if ``MODEL.MEMORY.STORE`` names no folder.
    """
    if not cfg.MODEL.MEMORY.ENABLED:
        return
    if not cfg.MODEL.MEMORY.STORE:
        raise UserError(
            "MODEL.MEMORY.ENABLED is True, but MODEL.MEMORY.STORE is empty; name the folder that "
            "`tubedet build-memory` wrote"
        )
    MemoryStore(cfg.MODEL.MEMORY.STORE)


def check_memory_store(cfg: CfgNode, model: nn.Module, *, eval_only: bool = False) -> None:
    """Refuse a store that lacks videos of data sets or was made with other weights.

    All processes of a run call it together.

    Args:
        cfg: the config; without ``MODEL.MEMORY.ENABLED`` nothing is looked at.
        model: with its weights loaded.
        eval_only: look at ``DATASETS.TEST`` alone.

    Raises:
        UserError: in one line.
    """
    if not cfg.MODEL.MEMORY.ENABLED:
        return
    with agreed_errors():
        store = MemoryStore(cfg.MODEL.MEMORY.STORE)
        if isinstance(model, DistributedDataParallel):
            model = model.module
        own = base_fingerprint(model)
        names = cfg.DATASETS.TEST if eval_only else (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
        videos = {record["video_id"] for name in names for record in DatasetCatalog.get(name)}
        for video in sorted(videos):
            if store.model(video) != own:
                raise UserError(
                    f"{store.path(video)} was made with other weights than the model has; build "
                    "it anew with these, or load those that it was made with (MODEL.WEIGHTS)"
                )
