"""TF32, in which GPUs compute with ten binary digits of float32's 23."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """Within, GPUs keep all of float32's digits in products and convolutions, as CPUs do.

    PyTorch has two interfaces for this, and parts of it that read the earlier one fail where the
    two say different things. So both are set, and both are set back.
    """
    backends: Any = torch.backends
    parts = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul)
    before = [part.fp32_precision for part in parts]
    products = _readable(torch.get_float32_matmul_precision)
    convolutions = _readable(lambda: backends.cudnn.allow_tf32)
    try:
        backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = False
        for part in parts[:3]:
            part.fp32_precision = "ieee"
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
