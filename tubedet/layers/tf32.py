"""TF32, in which GPUs compute with ten binary digits of float32's 23."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """Within, GPUs keep all of float32's digits in products and convolutions, as CPUs do."""
    backends: Any = torch.backends
    with _settings_kept():
        backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = False
        for part in (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn):
            part.fp32_precision = "ieee"
        yield


@contextlib.contextmanager
def products_like_convolutions() -> Iterator[None]:
    """Within, matrix products may use TF32 where convolutions may, as those do by default."""
    if not convolutions_use_tf32() or torch.backends.cuda.matmul.fp32_precision == "tf32":
        yield
        return
    with _settings_kept():
        torch.set_float32_matmul_precision("high")
        yield


def convolutions_use_tf32() -> bool:
    """Whether convolutions of float32 numbers may run in TF32 on GPUs."""
    backends: Any = torch.backends
    return backends.cudnn.conv.fp32_precision == "tf32"


@contextlib.contextmanager
def _settings_kept() -> Iterator[None]:
    """Put PyTorch's settings of precision back afterwards.

    It has two interfaces for this, and parts of it that read the earlier one fail where the two say
    different things. So both are set, and both are set back.
    """
    backends: Any = torch.backends
    parts = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul)
    before = [part.fp32_precision for part in parts]
    products = _readable(torch.get_float32_matmul_precision)
    convolutions = _readable(lambda: backends.cudnn.allow_tf32)
    try:
        yield
    finally:
        if products is not None:
            torch.set_float32_matmul_precision(products)
        if convolutions is not None:
            backends.cudnn.allow_tf32 = convolutions
        for part, precision in zip(parts, before):
            part.fp32_precision = precision


def _readable(setting: Any) -> Any:
    """Return a setting of the earlier interface; None where the later one contradicts it."""
    try:
        return setting()
    except RuntimeError:
        return None
