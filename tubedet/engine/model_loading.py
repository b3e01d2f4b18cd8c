"""From a config to a model that is ready to train or to detect."""

import logging
import os
from typing import Any

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from tubedet.agreement import agreed_errors, of_main_process
from tubedet.checkpoint import TubedetCheckpointer
from tubedet.checkpoint.action_names import ACTION_NAMES, TRAINED_ON
from tubedet.model_zoo import local_weights

from .config_checks import check_model_config
from .config_loading import load_released_config, weight_sources
from .model_actions import checkpointed_actions

logger = logging.getLogger(__name__)

# Attribute of a model of load_model that had no weights to load.
HAS_RANDOM_WEIGHTS = "has_random_weights"


def load_model(cfg: CfgNode | str | os.PathLike) -> nn.Module:
    """Build the architecture of a config and load its weights.

    Args:
        cfg: ``MODEL.WEIGHTS`` may be one of our checkpoints or a released one: a path, URL or name;
            if empty the model keeps its random initialisation, and a warning says so.
            ``MODEL.INIT.BACKBONE`` and ``MODEL.INIT.TRANSFORMER`` are loaded before it. The name
            of a released detector, such as "TubeR_CSN152_AVA21", stands for its config and
            weights, see :func:`tubedet.model_zoo.released_models`.

    Returns:
        the model in evaluation mode on ``MODEL.DEVICE``. Its attribute ``action_names`` has the
        names of its actions: those of ``DATASETS.TEST``, into whose order the weights are brought,
        or else those in the checkpoint; None where neither has any. ``trained_on`` has the names
        of the data sets of its training, as far as the checkpoint says; ``has_random_weights``
        whether ``MODEL.WEIGHTS`` is empty and none were given to ``load_state_dict`` since.

    Raises:
        FileNotFoundError: if the weights do not exist.
        CheckpointError: if they cannot be read or do not fit, see :class:`TubedetCheckpointer`.
        UserError: if the config cannot be used, a name is unknown, or its file cannot be fetched.
    """
    if isinstance(cfg, (str, os.PathLike)):
        cfg = load_released_config(cfg)
    check_model_config(cfg)
    fetch_weights(cfg)
    if not cfg.MODEL.WEIGHTS:
        logger.warning(_random_weights_message(cfg))
    model = build_model(cfg)
    checkpointer = build_checkpointer(
        cfg, model, for_training=False, **checkpointed_actions(cfg, cfg.DATASETS.TEST[:1])
    )
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=False)
    setattr(model, ACTION_NAMES, checkpointer.action_names)
    setattr(model, TRAINED_ON, checkpointer.trained_on)
    setattr(model, HAS_RANDOM_WEIGHTS, not cfg.MODEL.WEIGHTS)
    model.register_load_state_dict_post_hook(_note_weights)
    return model.eval()


def _random_weights_message(cfg: CfgNode) -> str:
    """Return the warning, with the last checkpoint of a training where the config names it."""
    message = "MODEL.WEIGHTS is empty: the weights are random and detections meaningless"
    path = os.path.join(cfg.OUTPUT_DIR, "model_final.pth")
    if os.path.isfile(path):
        message += f". OUTPUT_DIR of the config has weights: give MODEL.WEIGHTS {path}"
    return message


def _note_weights(model: nn.Module, incompatible_keys: object) -> None:
    setattr(model, HAS_RANDOM_WEIGHTS, False)


def fetch_weights(cfg: CfgNode, *, with_init: bool = True) -> None:
    """Look for the weights of a config, and fetch released ones, before any other work is done.

    Args:
        cfg: the config.
        with_init: also those of ``MODEL.INIT``.

    Raises:
        FileNotFoundError, UserError: see :func:`tubedet.model_zoo.local_weights`.
    """
    for key, source in weight_sources(cfg).items():
        if with_init or key == "MODEL.WEIGHTS":
            local_weights(source, key)


def fetch_start(cfg: CfgNode, *, resume: bool, eval_only: bool) -> None:
    """Fetch the weights of the start of a run, unless it goes on from its last checkpoint.

    All processes of a run call it together; the main process decides whether the run goes on.

    Args:
        cfg: config of the run.
        resume: go on if there is a checkpoint in ``OUTPUT_DIR``.
        eval_only: leave out the weights of ``MODEL.INIT``.

    Raises:
        FileNotFoundError, UserError: see :func:`fetch_weights`; with several processes an
            AgreedError in all of them.
    """
    if resume and of_main_process(os.path.isfile(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint"))):
        return
    with agreed_errors():
        fetch_weights(cfg, with_init=not eval_only)


def build_checkpointer(
    cfg: CfgNode,
    model: nn.Module,
    save_dir: str = "",
    **options: Any,
) -> TubedetCheckpointer:
    """Return the checkpointer of a config.

    Args:
        cfg: ``MODEL.INIT`` gives the sources of the start and how much of each must be found.
        model, save_dir: see :class:`TubedetCheckpointer`.
        options: names of the actions, see :func:`.checkpointed_actions`, ``for_training`` and
            objects with a state.
    """
    return TubedetCheckpointer(
        model,
        save_dir,
        min_matched=cfg.MODEL.INIT.MIN_MATCHED,
        backbone=cfg.MODEL.INIT.BACKBONE,
        transformer=cfg.MODEL.INIT.TRANSFORMER,
        **options,
    )
