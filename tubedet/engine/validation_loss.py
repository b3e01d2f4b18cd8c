"""The losses of a training on the key frames of a test set."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tubedet.modeling.losses import losses_of_own_process

from .evaluation_precision import evaluation_dtype

# Of an earlier decoder layer: it counts in the sum, and has no line of its own.
_AUXILIARY = re.compile(r"_\d+$")
_SEED = 0


def add_validation_losses(
    results: dict, cfg: CfgNode, model: nn.Module, build_loader: Callable[..., Iterable[list[dict]]]
) -> None:
    """Put the losses on the test sets among the figures of an evaluation.

    Args:
        results: of detectron2's ``DefaultTrainer.test``: the figures of the test set, or of each of
            several; changed in place, as "validation".
        cfg: of the training.
        model: that is evaluated.
        build_loader: from a config, a name of a data set and ``annotated`` to batches.
    """
    dtype = evaluation_dtype(cfg.TEST.AMP, cfg.MODEL.DEVICE)
    for name in cfg.DATASETS.TEST:
        batches = build_loader(cfg, name, annotated=True)
        if losses := validation_losses(model, batches, amp_dtype=dtype):
            figures = results if len(cfg.DATASETS.TEST) == 1 else results[name]
            figures["validation"] = losses


def validation_losses(
    model: nn.Module, batches: Iterable[list[dict]], *, amp_dtype: torch.dtype | None = None
) -> dict[str, float]:
    """Compute the losses of a training without its noise: norms, dropout as at inference.

    A batch counts as many times as it has clips. All processes call it together, each with batches
    of its own, of which there may be a different number.

    Args:
        model: returns losses in training mode, also within ``DistributedDataParallel``; it keeps
            its mode, and random numbers go on as before.
        batches: inputs with ``instances``.
        amp_dtype: precision of autocast; None: that of the model.

    Returns:
        "total_loss", which is the sum of all, and the losses of the last layer; empty on all but
        the main process, and without any clip.
    """
    if isinstance(model, DistributedDataParallel):
        model = model.module
    device = next(model.parameters()).device
    sums: dict[str, float] = defaultdict(float)
    num_clips = 0
    gpus = [device.index or 0] if device.type == "cuda" else []
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(losses_of_own_process())
        stack.enter_context(torch.random.fork_rng(gpus))
        stack.enter_context(_losses_of_inference(model))
        if amp_dtype is not None:
            stack.enter_context(torch.autocast(device.type, dtype=amp_dtype))
        torch.manual_seed(_SEED)  # what is drawn for a loss is the same in every evaluation
        for batch in batches:
            for name, loss in model(batch).items():
                sums[name] += float(loss) * len(batch)
            num_clips += len(batch)
    gathered = comm.gather((sums, num_clips), dst=0)
    if not comm.is_main_process():
        return {}
    num_clips = sum(count for _, count in gathered)
    means: dict[str, float] = defaultdict(float)
    for part, _ in gathered:
        for name, value in part.items():
            means[name] += value / num_clips
    if not means:
        return {}
    own = {name: value for name, value in means.items() if not _AUXILIARY.search(name)}
    return {"total_loss": sum(means.values()), **own}


@contextlib.contextmanager
def _losses_of_inference(model: nn.Module) -> Iterator[None]:
    """Let a model return losses while its parts compute as at inference."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    model.training = True  # of this module alone, which chooses what is returned
    try:
        yield
    finally:
        for module, is_training in modes.items():
            module.training = is_training
