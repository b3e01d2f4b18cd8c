"""The forms of a model that are compared: as written, and each of the faster or smaller ones."""

from __future__ import annotations

from detectron2.config import CfgNode
from torch import nn

from tubedet.engine import Trainer, load_model
from tubedet.modeling import prepare_for_inference

DETECTION_VARIANTS = ("straightforward", "prepared")
# Name -> config keys that switch to it.
TRAINING_VARIANTS = {
    "straightforward": ("MODEL.CSN.EXECUTION", "modules", "MODEL.TUBER.REPEAT_EQUAL_WORK", "True"),
    "fused": ("MODEL.CSN.EXECUTION", "fused"),
    "checkpointed": ("MODEL.CSN.EXECUTION", "checkpointed"),
}


def build_for_detection(cfg: CfgNode, variant: str) -> nn.Module:
    """Builds a model, with its weights, in evaluation mode.

    Args:
        cfg: Its config.
        variant: One of ``DETECTION_VARIANTS``.

    Returns:
        nn.Module: on ``MODEL.DEVICE``.
    """
    model = load_model(cfg)
    return prepare_for_inference(model) if variant == "prepared" else model


def build_for_training(cfg: CfgNode) -> nn.Module:
    """Builds a model in training mode, frozen as the config says, without loading weights.

    Args:
        cfg: Its config, with the keys of one of ``TRAINING_VARIANTS``.

    Returns:
        nn.Module: on ``MODEL.DEVICE``.
    """
    return Trainer.build_model(cfg).train()
