"""From a config to a model that is ready to train or to detect."""

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from tubedet.checkpoint import TubedetCheckpointer


def load_model(cfg: CfgNode) -> nn.Module:
    """Build the architecture of a config and load its weights.

    Args:
        cfg: ``MODEL.WEIGHTS`` may be one of our checkpoints or a released one, a path or URL; if
            empty the model keeps its random initialisation. ``MODEL.INIT.BACKBONE`` and
            ``MODEL.INIT.TRANSFORMER`` are loaded before it.

    Returns:
        the model in evaluation mode on ``MODEL.DEVICE``.

    Raises:
        FileNotFoundError: if the weights do not exist.
        CheckpointError: if they cannot be read or do not fit, see :class:`TubedetCheckpointer`.
    """
    model = build_model(cfg)
    build_checkpointer(cfg, model).resume_or_load(cfg.MODEL.WEIGHTS, resume=False)
    return model.eval()


def build_checkpointer(
    cfg: CfgNode, model: nn.Module, save_dir: str = "", **checkpointables
) -> TubedetCheckpointer:
    """The checkpointer of a config.

    Args:
        cfg: ``MODEL.INIT`` gives the sources of the start and how much of each must be found.
        model, save_dir, checkpointables: see :class:`TubedetCheckpointer`.
    """
    return TubedetCheckpointer(
        model,
        save_dir,
        min_matched=cfg.MODEL.INIT.MIN_MATCHED,
        backbone=cfg.MODEL.INIT.BACKBONE,
        transformer=cfg.MODEL.INIT.TRANSFORMER,
        **checkpointables,
    )
