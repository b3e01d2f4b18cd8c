"""Reading pickles of plain data and numpy arrays without executing anything in them.

A pickle is a program: it names functions, and loading calls them. The annotations and checkpoints
of the field are pickles from strangers, so everything by name is refused here but the few names
which plain containers and numpy arrays need, and these few are replaced by checked versions. No
size that a file claims is believed, and what it unpacks to is limited by what it holds.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, BinaryIO

import numpy as np

from .pickle_names import PLAIN_DATA, AllowedName, RefusedName, brief, check_keys

_MAX_SHOWN = 200  # characters
# What damaged data can raise from the opcodes of the pickle machine and from numpy.
DAMAGE_ERRORS = (
    pickle.UnpicklingError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NameError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


class PickleFileError(ValueError):
    """A file is too large, damaged, no pickle, or more than plain data.

    Args:
        path: the file.
        problem: what is wrong with it.

    Attributes:
        problem: the message without the name of the file.
    """

    def __init__(self, path: str | PathLike, problem: str):
        super().__init__(f"{os.fspath(path)}: {problem}")
        self.problem = problem


class RefusedPickleError(PickleFileError):
    """A pickle asks for something beyond plain data; the message names it."""


def load_restricted_pickle(
    path: str | PathLike,
    *,
    max_bytes: int,
    allowed: Mapping[tuple[str, str], Callable] = PLAIN_DATA,
) -> object:
    """Read a pickle that holds plain data.

    Understood are None, booleans, numbers, text, bytes, lists, tuples, dicts, sets, numpy scalars
    and numpy arrays of booleans, numbers or text, as written by Python 2 or 3 in any protocol. Text
    of Python 2 is read as ISO 8859-1. Keys of dicts and members of sets are None, booleans,
    numbers, text, bytes, or short tuples of these. Ordered dicts become dicts.

    Args:
        path: the file.
        max_bytes: larger files are refused unread.
        allowed: the names that the pickle may use, as (module, name), each with the function that
            is called instead; :data:`~tubedet.files.pickle_names.PLAIN_DATA`
            (default) or :data:`~tubedet.files.pickle_names.ARRAY_DATA`.

    Returns:
        what the pickle holds.

    Raises:
        RefusedPickleError: if the pickle uses any other name; nothing has been executed.
        PickleFileError: if the file is too large, damaged, or no pickle.
        OSError: if the file cannot be read.
    """
    size = os.path.getsize(path)
    if size > max_bytes:
        raise PickleFileError(path, f"{size} bytes, more than the {max_bytes} that it may have")
    with open(path, "rb") as stream:
        data = io.BytesIO(stream.read())
    try:
        return RestrictedUnpickler(data, size, allowed).load()
    except RefusedName as error:
        raise RefusedPickleError(
            path,
            f"byte {data.tell()}: refused, it asks for {brief(str(error))}; only plain containers, "
            "numbers, text and numpy arrays are read",
        ) from None
    except DAMAGE_ERRORS as error:
        reason = (str(error) or type(error).__name__)[:_MAX_SHOWN]
        raise PickleFileError(
            path, f"byte {data.tell()}: damaged or no pickle ({reason})"
        ) from None


# The machine written in Python: that in C sets up a table as long as a damaged file says. Its
# instructions are in no stub file, hence Any.
_Unpickler: Any = pickle._Unpickler


class RestrictedUnpickler(_Unpickler):
    """Reads one pickle of plain data after the other.

    Args:
        data: the pickles.
        size: bytes of ``data``.
        allowed: see :func:`load_restricted_pickle`.

    Attributes:
        fillable: the types whose items a pickle may set.
    """

    dispatch = dict(_Unpickler.dispatch)
    fillable: tuple[type, ...] = (dict,)  # an array would look into a deep tuple for ever

    def __init__(
        self, data: BinaryIO, size: int, allowed: Mapping[tuple[str, str], Callable] = PLAIN_DATA
    ):
        super().__init__(data, encoding="iso-8859-1")
        self._allowed = allowed
        # An array of Python 2 is in the file once, then in bytes, then in the array.
        self._bytes_left = 2 * size

    def find_class(self, module: str, name: str) -> object:
        """Look a name up among the allowed ones."""
        try:
            function = self._allowed[module, name]
        except KeyError:
            raise RefusedName(f"{module}.{name}") from None
        return AllowedName(function, self._count)

    def persistent_load(self, pid: object) -> object:
        """Refuse what lies beside the pickle."""
        raise RefusedName(f"persistent id {brief(pid)}")

    def get_extension(self, code: int) -> object:
        """Refuse names by number."""
        raise RefusedName(f"extension {code}")

    def _count(self, made: object) -> None:
        """Stop where a small file makes the same large thing again and again."""
        if isinstance(made, np.ndarray):
            self._bytes_left -= made.nbytes
        elif isinstance(made, (bytes, dict, set)):
            self._bytes_left -= len(made)
        if self._bytes_left < 0:
            raise pickle.UnpicklingError("it unpacks to more than it holds")

    def _build(self) -> None:
        self.load_build()
        self._count(self.stack[-1])

    def _read_bytearray(self) -> None:
        # The original reserves as much as the file says.
        (length,) = struct.unpack("<Q", self.read(8))
        content = self.read(min(length, sys.maxsize))
        if len(content) != length:
            raise EOFError(f"{length} bytes are announced, {len(content)} are there")
        self.append(bytearray(content))

    def _check_filled(self, target: object) -> None:
        if type(target) not in self.fillable:
            raise pickle.UnpicklingError(
                f"items are set in a {type(target).__name__}, not in a dict"
            )

    # The instructions that hash what the pickle holds. Its items since the last mark are in
    # ``stack`` and what lies below the mark is in ``metastack``.

    def _set_item(self) -> None:
        self._check_filled(self.stack[-3])
        check_keys(self.stack[-2:-1])
        self.load_setitem()

    def _set_items(self) -> None:
        self._check_filled(self.metastack[-1][-1])
        check_keys(self.stack[::2])
        self.load_setitems()

    def _make_dict(self) -> None:
        check_keys(self.stack[::2])
        self.load_dict()

    def _add_items(self) -> None:
        check_keys(self.stack)
        self.load_additems()

    def _make_frozenset(self) -> None:
        check_keys(self.stack)
        self.load_frozenset()

    dispatch[pickle.BUILD[0]] = _build
    dispatch[pickle.BYTEARRAY8[0]] = _read_bytearray
    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items
    dispatch[pickle.DICT[0]] = _make_dict
    dispatch[pickle.ADDITEMS[0]] = _add_items
    dispatch[pickle.FROZENSET[0]] = _make_frozenset
