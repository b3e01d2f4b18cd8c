"""Files of named numeric arrays: MATLAB's ``.mat`` and the ``.pkl`` of Caffe2 and detectron2.

Both are read without running anything in them and without believing the sizes they claim.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
import scipy.io

from tubedet.files.pickle_names import ARRAY_DATA
from tubedet.files.restricted_pickle import load_restricted_pickle

# Far above any published network (the largest file, of CSN-152, unpacks to about 0.3 GB).
MAX_MAT_BYTES = 4 * 2**30
MAX_PICKLE_BYTES = 4 * 2**30
_MAT_FRACTIONS = {"single": np.float32, "double": np.float64}
_MAT_NUMBERS = {*_MAT_FRACTIONS, "int32", "int64", "uint8"}
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
    kinds = {name: kind for name, _, kind in scipy.io.whosmat(path) if kind in _MAT_NUMBERS}
    arrays = scipy.io.loadmat(path, variable_names=list(kinds))
    return {name: _as_vector(_as_declared(arrays[name], kind)) for name, kind in kinds.items()}


def _as_declared(array: np.ndarray, kind: str) -> np.ndarray:
    """Undo that MATLAB stores fractions which all are whole numbers in fewer bytes."""
    is_whole = array.dtype.kind in "iu"
    return array.astype(_MAT_FRACTIONS[kind]) if is_whole and kind in _MAT_FRACTIONS else array


def _as_vector(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1) if array.shape[0] == 1 else array


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


def read_array_pickle(path: str) -> object:
    """Read a pickle of numpy arrays, such as ``{"blobs": {name: array}}``.

    Args:
        path: local file.

    Returns:
        what the file holds, made of numpy arrays, numbers, strings and plain containers.

    Raises:
        PickleFileError: if it asks for anything else, is damaged, or larger than
            :data:`MAX_PICKLE_BYTES`.
        OSError: if it cannot be read.
    """
    return load_restricted_pickle(path, max_bytes=MAX_PICKLE_BYTES, allowed=ARRAY_DATA)
