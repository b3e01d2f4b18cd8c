"""Mixed precision as the config says, and evaluation in it, with few waits for the GPU."""

from __future__ import annotations

import contextlib

import torch
from detectron2.config import CfgNode
from torch import nn

from tubedet.data.device_transfer import Batch, with_tensors
from tubedet.errors import UserError

AMP_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def evaluation_dtype(name: str, device: str | torch.device) -> torch.dtype | None:
    """Return what ``TEST.AMP`` says; None: the precision of the model.

    Args:
        name: the value of the key.
        device: of the model.

    Raises:
        UserError: if there is no such precision, or the device has none.
    """
    if not name:
        return None
    if name not in AMP_DTYPES:
        raise UserError(f"TEST.AMP is {name!r}; choose one of {list(AMP_DTYPES)}, or '' for none")
    if name == "float16" and torch.device(device).type == "cpu":
        raise UserError("TEST.AMP float16 needs a GPU; on the CPU use bfloat16")
    return AMP_DTYPES[name]


def training_dtype(cfg: CfgNode) -> torch.dtype | None:
    """Return what ``SOLVER.AMP`` says; None: the precision of the model.

    Args:
        cfg: of the training.

    Raises:
        UserError: if there is no such precision.
    """
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    if cfg.SOLVER.AMP.DTYPE not in AMP_DTYPES:
        raise UserError(
            f"SOLVER.AMP.DTYPE is {cfg.SOLVER.AMP.DTYPE!r}; choose one of {list(AMP_DTYPES)}"
        )
    return AMP_DTYPES[cfg.SOLVER.AMP.DTYPE]


class EvaluatedModel(nn.Module):
    """Runs a model as evaluation does: in mixed precision, with its results on the CPU.

    Args:
        model: takes and returns what detectron2 models do.
        dtype: of autocast; None: the precision of the model.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype | None = None):
        super().__init__()
        self.model = model
        self.dtype = dtype

    def forward(self, inputs: Batch) -> Batch:
        """Detect.

        Args:
            inputs: of the model.

        Returns:
            the model's outputs, on the CPU.
        """
        autocast: contextlib.AbstractContextManager = contextlib.nullcontext()
        if self.dtype is not None:
            device = next(self.model.parameters()).device
            autocast = torch.autocast(device.type, dtype=self.dtype)
        with autocast:
            outputs = self.model(inputs)
        return on_cpu(outputs)


def on_cpu(outputs: Batch) -> Batch:
    """Copy what a model returns to the CPU, waiting once for all of it.

    Args:
        outputs: dicts with tensors or :class:`Instances`.
    """
    devices = set()

    def copy(tensor: torch.Tensor) -> torch.Tensor:
        devices.add(tensor.device)
        return tensor.to("cpu", non_blocking=True)

    copies = with_tensors(outputs, copy)
    for device in devices:
        if device.type != "cpu":
            torch.accelerator.current_stream(device).synchronize()
    return copies
