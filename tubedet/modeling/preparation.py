"""Preparing a trained model for fast inference."""

import copy
import itertools

from torch import nn
from torch.nn.parallel import DistributedDataParallel


def prepare_for_inference(model: nn.Module) -> nn.Module:
    """Copy a model to one that computes the same in less time and memory and cannot be trained.

    Every part with a method ``for_inference`` is replaced by what that returns: batch norms become
    part of the convolutions before them, see :mod:`tubedet.modeling.backbone.csn.folded`. All other
    weights are shared with the model, not copied. The replaced parts hold the weights of this
    moment: prepare again after training on or loading.

    Args:
        model: any architecture, also within ``DistributedDataParallel``; it is not changed.

    Returns:
        the copy, in evaluation mode.
    """
    if isinstance(model, DistributedDataParallel):
        model = model.module
    tensors = itertools.chain(model.parameters(), model.buffers())
    prepared = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    _replace_parts(prepared)
    return prepared.eval()


def _replace_parts(module: nn.Module) -> None:
    for name, child in module.named_children():
        for_inference = getattr(child, "for_inference", None)
        if for_inference is not None:
            setattr(module, name, for_inference())
        else:
            _replace_parts(child)
