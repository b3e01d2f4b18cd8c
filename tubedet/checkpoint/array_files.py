"""Files of named numeric arrays: MATLAB's ``.mat`` and the ``.pkl`` of Caffe2 and detectron2.

Both are read without running anything in them and without believing the sizes they claim.
"""

import codecs
import pickle
import struct
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import scipy.io

# Far above any published network (the largest file, of CSN-152, unpacks to about 0.3 GB).
MAX_MAT_BYTES = 4 * 2**30
_MAT_NUMBERS = {"single", "double", "int32", "int64", "uint8"}
_COMPRESSED = 15  # MATLAB's type code of a compressed element


def read_mat(path: str) -> dict[str, np.ndarray]:
    """Read the numeric variables of a MATLAB 5 file.

    MATLAB has no vectors: arrays of one row are returned as vectors.

    Args:
        path: local file.

    Returns:
        {name: array}; cells, structures, text and functions are left out.

    Raises:
        ValueError: if it is another format or unpacks to more than :data:`MAX_MAT_BYTES`.
        OSError, zlib.error, TypeError: for a damaged file.
    """
    _check_mat_size(path)
    names = [name for name, _, kind in scipy.io.whosmat(path) if kind in _MAT_NUMBERS]
    arrays = scipy.io.loadmat(path, variable_names=names)
    return {
        name: arrays[name].reshape(-1) if arrays[name].shape[0] == 1 else arrays[name]
        for name in names
    }


def _check_mat_size(path: str) -> None:
    """Unpack without keeping anything, because the sizes in a file may lie."""
    with open(path, "rb") as file:
        header = file.read(128)
        if len(header) < 128 or header[126:128] not in (b"IM", b"MI"):
            raise ValueError("it is no MATLAB 5 file")
        order = "<" if header[126:128] == b"IM" else ">"
        if struct.unpack(order + "H", header[124:126])[0] != 0x0100:
            raise ValueError("it is no MATLAB 5 file; save it with scipy.io.savemat")
        left = Path(path).stat().st_size - 128
        total = 0
        while left >= 8:
            kind, size = struct.unpack(order + "II", file.read(8))
            left -= 8 + size
            if left < 0:
                raise ValueError("it ends within a variable")
            if kind != _COMPRESSED:
                total += size
                file.seek(size, 1)
                continue
            unpacker, packed = zlib.decompressobj(), file.read(size)
            while packed and not unpacker.eof:
                total += len(unpacker.decompress(packed, 2**20))
                packed = unpacker.unconsumed_tail
                if total > MAX_MAT_BYTES:
                    raise ValueError(f"it unpacks to more than {MAX_MAT_BYTES:,} bytes")


class _ArrayUnpickler(pickle.Unpickler):
    """Makes numpy arrays and plain containers, nothing else."""

    def find_class(self, module: str, name: str):
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            if name == "_reconstruct":
                return _empty_array
            if name == "scalar":
                return np.float64(0).__reduce__()[0]
        allowed = {
            ("numpy", "ndarray"): None,  # an argument of _reconstruct, never called
            ("numpy", "dtype"): np.dtype,
            ("collections", "OrderedDict"): OrderedDict,
            ("_codecs", "encode"): _latin1_bytes,  # bytes in pickles for Python 2
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return allowed[module, name]


def _empty_array(*arguments) -> np.ndarray:
    """An array to be filled from the pickle; the size it asks for beforehand is not reserved."""
    return np.empty(0)


def _latin1_bytes(text: str, encoding: str) -> bytes:
    return codecs.encode(text, "latin1")


def read_array_pickle(path: str) -> dict:
    """Read a pickle of numpy arrays, such as ``{"blobs": {name: array}}``.

    Args:
        path: local file.

    Returns:
        what the file holds, made of numpy arrays, numbers, strings and plain containers.

    Raises:
        pickle.UnpicklingError: if it asks for anything else.
        EOFError, ValueError, TypeError: for a damaged file.
    """
    with open(path, "rb") as file:
        return _ArrayUnpickler(file, encoding="latin1").load()
