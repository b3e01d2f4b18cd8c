"""Reading checkpoint files without executing anything in them."""

import json
import logging
import os
import re
import zipfile
from collections import OrderedDict

import numpy as np
import torch
from detectron2.utils.logger import log_first_n
from safetensors import safe_open
from safetensors.torch import load_file

from tubedet.errors import UserError
from tubedet.files.pickle_names import brief
from tubedet.files.restricted_pickle import PickleFileError

from .action_names import ACTION_NAMES, TRAINED_ON, checked_action_names
from .array_files import read_array_pickle, read_mat
from .pickle_inspection import UnreadObject, inspect_pickles, unread_mapping
from .tensor_checks import array_fault, tensor_fault


class CheckpointError(UserError):
    """A checkpoint cannot be read, or too little of it fits the model."""


# The first release in which torch.load(weights_only=True) has no known memory corruption.
SAFE_TORCH = (2, 10)

_numpy_scalar = np.float64(0).__reduce__()[0]  # its module moved between numpy 1 and 2

# What released checkpoints hold besides tensors and plain containers. None of these runs code.
_HARMLESS = [
    # A yacs config becomes a plain ordered dict; its content is not used.
    (OrderedDict, "yacs.config.CfgNode"),
    (OrderedDict, "fvcore.common.config.CfgNode"),
    (OrderedDict, "detectron2.config.config.CfgNode"),
    (_numpy_scalar, "numpy.core.multiarray.scalar"),
    (_numpy_scalar, "numpy._core.multiarray.scalar"),
    # Options and caches of a training; their content is not used.
    (unread_mapping, "collections.defaultdict"),
    *((UnreadObject, f"pathlib.{kind}Path") for kind in ("Posix", "PurePosix", "Windows")),
    np.dtype,
    *{type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")},
]
_HARMLESS_NAMES = {
    entry[1] if isinstance(entry, tuple) else f"{entry.__module__}.{entry.__qualname__}"
    for entry in _HARMLESS
}
# Where the weights are: ours and DETR's kind, DeepSpeed, mmaction2, pytorchvideo, Caffe2.
_ENTRIES = ("model", "module", "state_dict", "model_state", "blobs")
# Beside them in ours: the moving average of the weights.
AVERAGED = "model_ema"


def torch_warning() -> str | None:
    """Return what is wrong with this PyTorch's reader of checkpoints; None if nothing is known."""
    if torch.__version__ >= SAFE_TORCH:  # type: ignore[operator]  # it compares with tuples
        return None
    fixed = ".".join(map(str, SAFE_TORCH))
    return (
        f"PyTorch {torch.__version__} has a fault (CVE-2026-24747) by which a prepared checkpoint "
        f"file can damage memory. Update to PyTorch {fixed} or newer; until then load only "
        ".safetensors files and checkpoints that you trust."
    )


def load_checkpoint_file(path: str, *, averaged: bool = True) -> dict:
    """Read a checkpoint on the CPU.

    ``.safetensors``, ``.mat`` (MATLAB 5) and ``.pkl`` (numpy arrays) are told by their endings,
    which may be followed by what a URL asks for, such as ``.safetensors?download=true``;
    everything else is read by PyTorch's restricted unpickler; one warning says so where that has a
    known fault.

    Args:
        path: local file.
        averaged: if the file has a moving average of the weights, return it as the weights. The
            average is what was evaluated; a training goes on from the weights themselves.

    Returns:
        the dict in the file, its weights {name: tensor} as ``"model"``, whatever they were called.
        Where it has names of actions, ``"action_names"`` is a list of them; likewise
        ``"trained_on"`` of the data sets.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is no checkpoint, is cut off, unpacks to more than it holds,
            calls anything but what makes tensors, arrays and plain containers, or has an object of
            an unknown class in the place of weights (beside them it is left unread); if a weight is
            NaN or infinite, complex, sparse, quantised, or has no numbers.
    """
    try:
        data = _read(path)
    except FileNotFoundError:
        raise
    except Exception as error:  # zipfile, pickle, EOF, zlib and struct errors: for a bad file
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {_reason(error)}. Is the file complete? Only "
            "tensors and plain containers are accepted, and nothing in a file is executed."
        ) from error
    if isinstance(data, UnreadObject):
        raise CheckpointError(
            f"{path} holds an object of a class that is unknown here, not a dict of weights; save "
            "its state_dict()"
        )
    if not isinstance(data, dict):
        raise CheckpointError(f"{path} holds a {type(data).__name__}, not a dict of weights")
    for entry in _ENTRIES:
        if isinstance(data.get(entry), dict):
            data["model"] = data.pop(entry)
            break
    else:
        data = {"model": data}
    if averaged and isinstance(data.get(AVERAGED), dict):
        logging.getLogger(__name__).info(f"{path}: taking the moving average of the weights")
        data["model"] = data.pop(AVERAGED)
    for entry in ("model", AVERAGED):
        if entry in data:
            data[entry] = _checked_weights(data[entry], path)
    for entry in (ACTION_NAMES, TRAINED_ON):
        if entry in data:
            try:
                data[entry] = checked_action_names(data[entry])
            except ValueError as error:
                raise CheckpointError(f"{path}: {entry}: {error}") from error
    return data


def _read(path: str):
    ending = os.path.splitext(os.path.basename(path).split("?")[0])[1]
    if ending == ".safetensors":
        with safe_open(path, "pt") as file:
            names = (file.metadata() or {}).get(ACTION_NAMES)
        weights = load_file(path)
        return weights if names is None else {"model": weights, ACTION_NAMES: json.loads(names)}
    if ending == ".mat":
        return read_mat(path)
    if ending == ".pkl":
        return read_array_pickle(path)
    if ending in (".npy", ".npz"):
        raise ValueError(f"files of numpy ({ending}) are not read; save it with torch.save")
    _check_archive(path)
    stand_ins = inspect_pickles(path)
    if warning := torch_warning():
        log_first_n(logging.WARNING, warning, name=__name__)
    others = [(kind, name) for name, kind in stand_ins.items() if name not in _HARMLESS_NAMES]
    with torch.serialization.safe_globals([*_HARMLESS, *others]):
        return torch.load(path, map_location="cpu", weights_only=True)


def _check_archive(path: str) -> None:
    """torch.save stores without compression, so honest archives cannot unpack to more."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > os.path.getsize(path):
        raise ValueError(f"it would unpack to {unpacked:,} bytes, more than it holds")


def _checked_weights(weights: dict, path: str) -> dict[str, torch.Tensor]:
    """Tensors by name, arrays turned into tensors."""
    checked = {}
    for name, value in weights.items():
        fault = None
        if isinstance(value, (np.ndarray, np.generic)):
            fault = array_fault(value)
            if not fault:
                value = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
        if not isinstance(name, str) or not (fault or isinstance(value, torch.Tensor)):
            raise CheckpointError(
                f"{path}: {brief(name)} is a {type(value).__name__}, and there is no entry "
                f"{' or '.join(map(repr, _ENTRIES))} that holds weights"
            )
        if fault := fault or tensor_fault(value):
            raise CheckpointError(f"{path}: {brief(name)[1:-1]} {fault}")
        checked[name] = value.detach()
    return checked


def _reason(error: Exception) -> str:
    """Return the telling line of a long message."""
    if isinstance(error, PickleFileError):
        return error.problem
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused:
        return f"it asks for {refused[1]}"
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
