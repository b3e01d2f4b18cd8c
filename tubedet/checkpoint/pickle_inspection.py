"""Looking through the pickles of a PyTorch file before PyTorch reads them.

PyTorch's restricted unpickler calls nothing that a file names, but it hashes what the file says: a
tuple that holds the same tuple twice, sixty times over, keeps it busy for ever and fits into 129
bytes. Here the file is read once with the checks of :mod:`tubedet.files.restricted_pickle`, with
something that does nothing in the place of every name. That also shows which names are nothing but
classes of objects beside the weights, such as the ``argparse.Namespace`` of a training's options:
an object that holds nothing can stand for them, see :class:`UnreadObject`.
"""

from __future__ import annotations

import _compat_pickle
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, BinaryIO

from tubedet.files.pickle_names import brief
from tubedet.files.restricted_pickle import DAMAGE_ERRORS, RestrictedUnpickler

# A file of PyTorch before 1.6 is five pickles (a number, a version, the machine, the content, the
# names of the numbers) and the numbers.
_PICKLES_OF_OLD_FILES = 5
_MAX_ARGUMENTS = 1_000_000  # values, each counted as often as it occurs
_MAX_NAMES = 1_000  # different ones in a file; released checkpoints have about twenty


class UnreadObject:
    """Stands for an object whose class is unknown here; keeps nothing of what it is given."""

    __slots__ = ()

    def __new__(cls, *_args: object) -> UnreadObject:
        """Leave out what the object is made of."""
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Leave out what the object holds."""


def unread_mapping(*_args: object) -> OrderedDict:
    """Return an empty dict for a mapping that its file makes by a call, such as a defaultdict."""
    return OrderedDict()


def inspect_pickles(path: str | os.PathLike) -> dict[str, type]:
    """Refuse a file that would take PyTorch's unpickler more time or memory than its size.

    Args:
        path: what ``torch.load`` is going to read.

    Returns:
        the full names of the classes that the file does not call, each with what can stand for it:
        an OrderedDict where items are set in its objects, :class:`UnreadObject` otherwise. A name
        that is called anywhere, as every function is, is not among them.

    Raises:
        ValueError: if it does, or is no file of PyTorch; the message tells why.
        OSError: if the file cannot be read.
    """
    used = _Names()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
            for name in names:
                with archive.open(name) as stream:
                    _inspect(stream, archive.getinfo(name).file_size, used)
        return used.stand_ins()
    with open(path, "rb") as stream:
        size = os.path.getsize(path)
        for _ in range(_PICKLES_OF_OLD_FILES):
            _inspect(stream, size, used)
    return used.stand_ins()


def _inspect(stream: Any, size: int, used: _Names) -> None:
    try:
        _Inspector(stream, size, used).load()
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


class _Names:
    """What a file does with the names in it."""

    def __init__(self) -> None:
        self._classes: dict[str, type[_Inert]] = {}
        self._called: set[type] = set()
        self._filled: set[type] = set()

    def find(self, name: str) -> type[_Inert]:
        """Return the class that stands for a name, always the same one."""
        if name not in self._classes:
            if len(self._classes) >= _MAX_NAMES:
                raise pickle.UnpicklingError(f"more than {_MAX_NAMES:,} different names")
            self._classes[name] = type("_Inert", (_Inert,), {})
        return self._classes[name]

    def note_call(self, function: object) -> None:
        if isinstance(function, type):
            self._called.add(function)

    def note_filled(self, target: object) -> None:
        self._filled.add(type(target))

    def stand_ins(self) -> dict[str, type]:
        """See :func:`inspect_pickles`."""
        return {
            name: OrderedDict if inert in self._filled else UnreadObject
            for name, inert in self._classes.items()
            if inert not in self._called
        }


class _Inspector(RestrictedUnpickler):
    dispatch = dict(RestrictedUnpickler.dispatch)

    def __init__(self, stream: BinaryIO, size: int, used: _Names):
        super().__init__(stream, size)
        self._values_left = _MAX_ARGUMENTS
        self._used = used

    def find_class(self, module: str, name: str) -> object:
        # PyTorch knows the names of Python 2, in whose protocol it writes, by those of Python 3.
        module, name = _compat_pickle.NAME_MAPPING.get(
            (module, name), (_compat_pickle.IMPORT_MAPPING.get(module, module), name)
        )
        return self._used.find(f"{module}.{name}")

    def persistent_load(self, pid: object) -> object:
        self._check([pid])
        return _Inert()

    def _check_filled(self, target: object) -> None:
        if isinstance(target, _Inert):
            self._used.note_filled(target)
        else:
            super()._check_filled(target)

    def _reduce(self) -> None:
        self._check(self.stack[-1:])
        self._used.note_call(self.stack[-2])
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
