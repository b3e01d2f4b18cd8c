"""The forms of a model that are compared: as written, and each of the faster or smaller ones."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from tubedet.engine import Trainer, load_model
from tubedet.engine.freezing import freeze_parameters
from tubedet.modeling import DeformableTubeR, TubeR, prepare_for_inference

DETECTION_VARIANTS = ("straightforward", "prepared")
# Name -> config keys that switch to it; "straightforward" also repeats equal work.
TRAINING_VARIANTS = {
    "straightforward": ("MODEL.CSN.EXECUTION", "modules"),
    "fused": ("MODEL.CSN.EXECUTION", "fused"),
    "checkpointed": ("MODEL.CSN.EXECUTION", "checkpointed"),
}


def build_for_detection(cfg: CfgNode, variant: str) -> nn.Module:
    """Build a model, with its weights, in evaluation mode.

    Args:
        cfg: Its config.
        variant: One of ``DETECTION_VARIANTS``.

    Returns:
        nn.Module: on ``MODEL.DEVICE``.
    """
    model = load_model(cfg)
    return prepare_for_inference(model) if variant == "prepared" else model


def build_for_training(cfg: CfgNode, variant: str) -> nn.Module:
    """Build a model in training mode, frozen as the config says, without loading weights.

    Args:
        cfg: Its config, with the keys of the variant.
        variant: One of ``TRAINING_VARIANTS``. The architectures that can repeat equal work, as
            their published code does, do so in "straightforward".

    Returns:
        nn.Module: on ``MODEL.DEVICE``.
    """
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    if variant != "straightforward" or architecture not in (TubeR, DeformableTubeR):
        return Trainer.build_model(cfg).train()
    model = architecture(cfg, repeat_equal_work=True).to(cfg.MODEL.DEVICE)
    freeze_parameters(model, cfg.MODEL.FREEZE)
    return model.train()
