"""The forms of a model that are compared: as published, and each of the faster or smaller ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from tubedet.engine import Trainer, load_model
from tubedet.engine.freezing import freeze_parameters
from tubedet.layers import MultiScaleDeformableAttention3d
from tubedet.modeling import ClipDetector, DeformableTubeR, TubeR, prepare_for_inference
from tubedet.modeling.backbone.csn.execution import EXECUTIONS

from .published_operators import gather_corners

# What each form has on a GPU: kernels, and recordings of what is launched.
_PLAIN = ("MODEL.CSN.TRITON", False, "MODEL.CUDA_GRAPHS", False)
_TRITON = ("MODEL.CSN.TRITON", True, "MODEL.CUDA_GRAPHS", False)
_RECORDED = (*_TRITON, "SOLVER.CUDA_GRAPHS", True)
# Name -> config keys that switch to it. "published" also repeats equal work and computes what only
# training needs.
DETECTION_VARIANTS = {
    "published": (*_PLAIN, "MODEL.CSN.EXECUTION", "modules"),
    "straightforward": _PLAIN,
    "prepared": _PLAIN,
    "triton": _TRITON,
    "recorded": ("MODEL.CSN.TRITON", True, "MODEL.CUDA_GRAPHS", True),
}
# Name -> config keys that switch to it; "straightforward" also repeats equal work.
TRAINING_VARIANTS = {
    "straightforward": (*_PLAIN, "MODEL.CSN.EXECUTION", "modules"),
    **{name: (*_PLAIN, "MODEL.CSN.EXECUTION", name) for name in EXECUTIONS if name != "modules"},
    "triton": _TRITON,
    "triton-checkpointed": (*_TRITON, "MODEL.CSN.EXECUTION", "checkpointed"),
    "recorded": _RECORDED,
    "recorded-checkpointed": (*_RECORDED, "MODEL.CSN.EXECUTION", "checkpointed"),
}
# Those that differ from others on NVIDIA GPUs only.
GPU_VARIANTS = ("triton", "recorded", "triton-checkpointed", "recorded-checkpointed")


def chosen_variants(
    variants: dict[str, tuple], names: Sequence[str] | None, device: str | None
) -> dict[str, tuple]:
    """Return the variants to measure, with their config keys.

    Args:
        variants: All of a task.
        names: Those that were asked for; None: all that differ on the device.
        device: Where the model runs; None: on a GPU if there is one.
    """
    on_gpu = device.startswith("cuda") if device else torch.cuda.is_available()
    names = names or [name for name in variants if on_gpu or name not in GPU_VARIANTS]
    return {name: keys for name, keys in variants.items() if name in names}


def build_for_detection(
    cfg: CfgNode, variant: str, amp_dtype: torch.dtype | None = None
) -> nn.Module:
    """Build a model, with its weights, in evaluation mode.

    Args:
        cfg: Its config, with the keys of the variant.
        variant: One of ``DETECTION_VARIANTS``.
        amp_dtype: Precision of the autocast under which it is measured.

    Returns:
        nn.Module: on ``MODEL.DEVICE``.
    """
    model = load_model(cfg)
    if variant == "published":
        _detect_as_published(model)
    if variant in ("published", "straightforward"):
        return model
    return prepare_for_inference(model, amp_dtype)


def _detect_as_published(model: nn.Module) -> None:
    """Let a model repeat equal work, and predict with every decoder layer instead of the last.

    Attention in space and time reads all samples of all queries at once.
    """
    for module in model.modules():
        if isinstance(module, MultiScaleDeformableAttention3d):
            module.chunk_size = 0
            module.read = gather_corners
        if hasattr(module, "repeat_equal_work"):
            module.repeat_equal_work = True
    if not isinstance(model, ClipDetector):
        return  # it has no decoder layers
    predict = model.predict
    model.predict = lambda clips, all_layers=False: predict(clips, all_layers=True)


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
