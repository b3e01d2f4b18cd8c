"""Preparing a trained model for fast inference."""

import copy
import itertools

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .half_weights import store_in_half
from .meta_arch import ClipModel


def prepare_for_inference(model: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """Copy a model to one that computes the same in less time and memory and cannot be trained.

    Every part with a method ``for_inference(dtype)`` is replaced by what it returns: batch norms
    become part of the convolutions before them, see :mod:`tubedet.modeling.backbone.csn.folded`.
    All other weights are shared with the model, not copied. The replaced parts hold the weights of
    this moment, and kernels if the model is on a GPU that runs them: prepare again after training
    on, loading or moving the model.

    Args:
        model: any architecture, also within ``DistributedDataParallel``; it is not changed.
        dtype: of the autocast under which alone the copy is used; weights that it would cast at
            every call are cast now. None: for use with and without autocast.

    Returns:
        the copy, in evaluation mode.
    """
    if isinstance(model, DistributedDataParallel):
        model = model.module
    tensors = itertools.chain(model.parameters(), model.buffers())
    prepared = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    _replace_parts(prepared, dtype)
    if dtype is not None:
        store_in_half(prepared, dtype)
    if isinstance(prepared, ClipModel) and prepared.cuda_graphs:
        prepared.record_predictions()
    return prepared.eval()


def _replace_parts(module: nn.Module, dtype: torch.dtype | None) -> None:
    for name, child in module.named_children():
        for_inference = getattr(child, "for_inference", None)
        if for_inference is not None:
            setattr(module, name, for_inference(dtype))
        else:
            _replace_parts(child, dtype)
