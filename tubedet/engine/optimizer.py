"""AdamW with learning-rate factors by parameter name."""

import logging
from fnmatch import fnmatchcase

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn

from tubedet.errors import UserError

from .layer_decay import layer_factors, vit_vectors

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimiser of a config.

    The rate of a parameter is ``SOLVER.BASE_LR`` times the factor of the last pattern in
    ``SOLVER.LR_FACTORS`` that fits its name, and in a ViT also times the factor that
    ``SOLVER.LAYER_DECAY`` gives to its layer. ``SOLVER.WEIGHT_DECAY_NORM`` and ``_BIAS`` work as
    in detectron2; in a ViT, ``SOLVER.WEIGHT_DECAY_VIT_VECTORS`` goes before them. Clipping of type
    "full_model" is not done here but by :class:`StepTrainer`.

    Args:
        cfg: the run's config.
        model: frozen parameters are left out.

    Raises:
        UserError: if ``SOLVER.LAYER_DECAY`` is set for a model without a ViT.
    """
    groups = parameter_groups(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        lr_factors=cfg.SOLVER.LR_FACTORS,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        weight_decay_bias=cfg.SOLVER.WEIGHT_DECAY_BIAS,
        weight_decay_vit_vectors=cfg.SOLVER.WEIGHT_DECAY_VIT_VECTORS,
        layer_decay=cfg.SOLVER.LAYER_DECAY,
    )
    optimizer = torch.optim.AdamW(groups, lr=cfg.SOLVER.BASE_LR, fused=True)
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    if clipping.ENABLED and clipping.CLIP_TYPE != "full_model":
        optimizer = maybe_add_gradient_clipping(cfg, optimizer)
    return optimizer


def max_gradient_norm(cfg: CfgNode) -> float | None:
    """Return the limit of the gradients' L2 norm over all parameters; None: there is none.

    Args:
        cfg: ``SOLVER.CLIP_GRADIENTS`` of another type than "full_model" is the optimiser's affair.
    """
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    if clipping.ENABLED and clipping.CLIP_TYPE == "full_model":
        return clipping.CLIP_VALUE
    return None


def parameter_groups(
    model: nn.Module,
    *,
    base_lr: float,
    lr_factors: list[tuple[str, float]],
    weight_decay: float,
    weight_decay_norm: float | None = None,
    weight_decay_bias: float | None = None,
    weight_decay_vit_vectors: float | None = None,
    layer_decay: float = 1.0,
) -> list[dict]:
    """Group the trainable parameters by learning rate and weight decay.

    Args:
        lr_factors: [pattern of whole names such as "backbone.*", factor] pairs; the last one
            that fits counts.
        weight_decay_norm, weight_decay_bias: for norm layers and biases; None: as the others.
        weight_decay_vit_vectors: for what :func:`~tubedet.engine.layer_decay.vit_vectors` names;
            None: as outside of a ViT.
        layer_decay: see :func:`~tubedet.engine.layer_decay.layer_factors`, whose factors multiply
            those of ``lr_factors``; 1: none.

    Returns:
        groups for a PyTorch optimiser, in the order of the model's parameters, whose names are in
        "param_names".

    Raises:
        UserError: if ``layer_decay`` is not 1 and the model has no ViT.
    """
    for pattern, _ in lr_factors:
        if not any(fnmatchcase(name, pattern) for name, _ in model.named_parameters()):
            logging.getLogger(__name__).warning(
                f"SOLVER.LR_FACTORS: no parameter's name fits {pattern!r}"
            )
    of_layers = dict(layer_factors(model, layer_decay))
    if layer_decay != 1 and not of_layers:
        raise UserError(
            f"SOLVER.LAYER_DECAY is {layer_decay}, but the model has no ViT; set it to 1.0"
        )
    vectors = vit_vectors(model) if weight_decay_vit_vectors is not None else set()
    groups: dict[tuple[float, float | None], dict] = {}
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            full_name = f"{module_name}.{name}" if module_name else name
            lr: float = base_lr
            decay: float | None = weight_decay
            for pattern, factor in lr_factors:
                if fnmatchcase(full_name, pattern):
                    lr = base_lr * factor
            lr *= of_layers.get(full_name, 1.0)
            if full_name in vectors:
                decay = weight_decay_vit_vectors
            elif isinstance(module, _NORMS) and weight_decay_norm is not None:
                decay = weight_decay_norm
            elif name.endswith("bias") and weight_decay_bias is not None:
                decay = weight_decay_bias
            new_group: dict = {"params": [], "param_names": [], "lr": lr, "weight_decay": decay}
            group = groups.setdefault((lr, decay), new_group)
            group["params"].append(parameter)
            group["param_names"].append(full_name)
    return list(groups.values())
