"""Reading checkpoint files without executing anything in them."""

import re
from collections import OrderedDict

import numpy as np
import torch


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read, or too little of it fits the model."""


_numpy_scalar = np.float64(0).__reduce__()[0]  # its module moved between numpy 1 and 2

# What released checkpoints hold besides tensors and plain containers. None of these runs code.
_HARMLESS = [
    # A yacs config becomes a plain ordered dict; its content is not used.
    (OrderedDict, "yacs.config.CfgNode"),
    (OrderedDict, "fvcore.common.config.CfgNode"),
    (OrderedDict, "detectron2.config.config.CfgNode"),
    (_numpy_scalar, "numpy.core.multiarray.scalar"),
    (_numpy_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    *{type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")},
]


def load_checkpoint_file(path: str) -> dict:
    """Read a ``.pth`` file with PyTorch's restricted unpickler, on the CPU.

    Args:
        path: local file.

    Returns:
        the dict in the file; a bare state dict comes back as ``{"model": state_dict}``.

    Raises:
        CheckpointError: if the file is no checkpoint, is cut off, or asks for Python objects
            beyond tensors, plain containers and a yacs config.
    """
    if path.endswith(".pkl"):
        raise CheckpointError(
            f"{path}: plain pickles can execute code and are not read; convert it to a .pth file "
            "with torch.save in an environment you trust it in"
        )
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            data = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, pickle, EOF and struct errors, all for a bad file
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {_reason(error)}. Is the file complete? Only "
            "tensors and plain containers are accepted, and nothing in a file is executed."
        ) from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds a {type(data).__name__}, not a dict of weights")
    if not isinstance(data.get("model"), dict):
        data = {"model": data}
    return data


def _reason(error: Exception) -> str:
    """The telling line of PyTorch's long message."""
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused:
        return f"it asks for {refused[1]}"
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
