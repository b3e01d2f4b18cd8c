"""Which weights a memory was made with."""

import hashlib

import torch
from torch import nn

# Of the model, what memories do not depend on.
READER = "memory_reader"


def base_fingerprint(model: nn.Module) -> str:
    """Hash all weights that memories depend on, wherever they lie and whatever file they are from.

    Args:
        model: not prepared for inference.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if not name.startswith(f"{READER}.") and not name.endswith("num_batches_tracked"):
            digest.update(name.encode())
            digest.update(value.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return f"sha256 {digest.hexdigest()}"
