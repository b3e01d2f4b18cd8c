"""From a config to a model that is ready to detect."""

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from tubedet.checkpoint import TubedetCheckpointer


def load_model(cfg: CfgNode) -> nn.Module:
    """Build the architecture of a config and load its weights.

    Args:
        cfg: ``MODEL.WEIGHTS`` may be one of our checkpoints or a released one, a path or URL; if
            empty the model keeps its random initialisation.

    Returns:
        the model in evaluation mode on ``MODEL.DEVICE``.

    Raises:
        FileNotFoundError: if the weights do not exist.
        CheckpointError: if they cannot be read or do not fit, see :class:`TubedetCheckpointer`.
    """
    model = build_model(cfg)
    checkpointer = TubedetCheckpointer(model, min_matched=cfg.MODEL.INIT.MIN_MATCHED)
    checkpointer.load(cfg.MODEL.WEIGHTS, checkpointables=[])
    return model.eval()
