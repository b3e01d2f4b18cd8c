"""Looking through the pickles of a PyTorch file before PyTorch reads them.

PyTorch's restricted unpickler calls nothing that a file names, but it hashes what the file says: a
tuple that holds the same tuple twice, sixty times over, keeps it busy for ever and fits into 129
bytes. Here the file is read once with the checks of :mod:`tubedet.files.restricted_pickle`, with
something that does nothing in the place of every name.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Iterable
from typing import Any, BinaryIO

from tubedet.files.pickle_names import brief
from tubedet.files.restricted_pickle import DAMAGE_ERRORS, RestrictedUnpickler

# A file of PyTorch before 1.6 is five pickles (a number, a version, the machine, the content, the
# names of the numbers) and the numbers.
_PICKLES_OF_OLD_FILES = 5
_MAX_ARGUMENTS = 1_000_000  # values, each counted as often as it occurs


def inspect_pickles(path: str | os.PathLike) -> None:
    """Refuse a file that would take PyTorch's unpickler more time or memory than its size.

    Args:
        path: what ``torch.load`` is going to read.

    Raises:
        ValueError: if it does, or is no file of PyTorch; the message tells why.
        OSError: if the file cannot be read.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            for name in names:
                with archive.open(name) as stream:
                    _inspect(stream, archive.getinfo(name).file_size)
        return
    with open(path, "rb") as stream:
        size = os.path.getsize(path)
        for _ in range(_PICKLES_OF_OLD_FILES):
            _inspect(stream, size)


def _inspect(stream: Any, size: int) -> None:
    try:
        _Inspector(stream, size).load()
    except DAMAGE_ERRORS as error:
        raise ValueError(f"damaged or no checkpoint ({brief(str(error))[1:-1]})") from None


class _Inert(dict):
    """Stands for whatever a name makes, and takes whatever a pickle does to it."""

    def __new__(cls, *_args: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_args: object):
        super().__init__()

    def __setstate__(self, state: object) -> None:
        pass


class _Inspector(RestrictedUnpickler):
    dispatch = dict(RestrictedUnpickler.dispatch)
    fillable = (dict, _Inert)

    def __init__(self, stream: BinaryIO, size: int):
        super().__init__(stream, size)
        self._values_left = _MAX_ARGUMENTS

    def find_class(self, module: str, name: str) -> object:
        return _Inert

    def persistent_load(self, pid: object) -> object:
        self._check([pid])
        return _Inert()

    def _reduce(self) -> None:
        self._check(self.stack[-1:])
        self.load_reduce()

    def _new_object(self) -> None:
        self._check(self.stack[-1:])
        self.load_newobj()

    def _build_checked(self) -> None:
        self._check(self.stack[-1:])
        self._build()

    def _check(self, values: Iterable[object]) -> None:
        """Count what a call is given: PyTorch may hash, compare and convert it."""
        waiting = list(values)
        while waiting:
            value = waiting.pop()
            self._values_left -= 1
            if self._values_left < 0:
                raise pickle.UnpicklingError(f"a call with more than {_MAX_ARGUMENTS:,} values")
            if isinstance(value, dict):
                waiting += value.values()
            elif isinstance(value, (list, tuple, set, frozenset)):
                waiting += value

    dispatch[pickle.REDUCE[0]] = _reduce
    dispatch[pickle.NEWOBJ[0]] = _new_object
    dispatch[pickle.BUILD[0]] = _build_checked
