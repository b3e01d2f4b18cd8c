"""Reading pickles of annotations without executing anything in them.

A pickle is a program: it names functions, and loading calls them. The annotation files of the field
are pickles from strangers, so everything by name is refused here but the few names which plain
containers and numpy arrays need, and these few are replaced by checked versions.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections.abc import Callable, Iterable
from os import PathLike

import numpy as np

from .text import AnnotationError

# The largest file of the field, UCF101-24 in the format of ACT, has a few dozen megabytes.
MAX_BYTES = 512 * 2**20
_PLAIN_KINDS = "biufSU"
_MAX_SHOWN = 200  # characters
_MAX_DIMENSIONS = 32
_MAX_KEY_LENGTH = 16  # of a tuple
_MAX_KEY_BITS = 64  # of a whole number


class RefusedPickleError(AnnotationError):
    """A pickle asks for something beyond plain data; the message names the file and the name."""


def brief(value: object) -> str:
    """Shows a value of a file from strangers in a message, whatever its size and depth.

    ``repr`` of a small pickle can take forever: a tuple may hold the same tuple twice, and so on.

    Args:
        value: anything.

    Returns:
        str: a few hundred characters at most.
    """
    if isinstance(value, (list, tuple)):
        shown = ", ".join(_brief_item(item) for item in value[:_MAX_SHOWN])
        text = f"[{shown}]" if isinstance(value, list) else f"({shown})"
    else:
        text = _brief_item(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _brief_item(value: object) -> str:
    if isinstance(value, (str, bytes)):
        return repr(value[:_MAX_SHOWN])
    if isinstance(value, int) and value.bit_length() > _MAX_SHOWN:
        return f"a number of {value.bit_length()} bits"
    if value is None or isinstance(value, (int, float)):
        return repr(value)
    return f"a {type(value).__name__}"


def load_restricted_pickle(path: str | PathLike, *, max_bytes: int = MAX_BYTES) -> object:
    """Reads a pickle that holds plain data.

    Understood are None, booleans, numbers, text, bytes, lists, tuples, dicts, sets, numpy scalars
    (they become Python's) and numpy arrays of booleans, numbers or text, as written by Python 2 or
    3 in any protocol. Text of Python 2 is read as ISO 8859-1. Keys of dicts and members of sets
    are None, booleans, numbers, text, bytes, or short tuples of these.

    Args:
        path: the file.
        max_bytes: larger files are refused unread.

    Returns:
        what the pickle holds.

    Raises:
        RefusedPickleError: the pickle names anything else; nothing has been executed.
        AnnotationError: the file is too large, damaged, or no pickle.
        OSError: the file cannot be read.
    """
    size = os.path.getsize(path)
    if size > max_bytes:
        raise AnnotationError(
            f"{path}: {size} bytes, more than the {max_bytes} that an annotation file may have"
        )
    with open(path, "rb") as stream:
        data = io.BytesIO(stream.read())
    try:
        return _RestrictedUnpickler(data, encoding="iso-8859-1").load()
    except _RefusedName as error:
        raise RefusedPickleError(
            f"{path}: byte {data.tell()}: refused, it asks for {brief(str(error))}; an "
            "annotation file holds plain containers, numbers, text and numpy arrays only"
        ) from None
    # What damaged data can raise from the opcodes of the pickle machine and from numpy.
    except (
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
    ) as error:
        reason = (str(error) or type(error).__name__)[:_MAX_SHOWN]
        raise AnnotationError(
            f"{path}: byte {data.tell()}: damaged or no pickle ({reason})"
        ) from None


class _RefusedName(Exception):
    """Carries the refused name out of the pickle machine."""


# The machine written in Python: that in C sets up a table as long as a damaged file says.
class _RestrictedUnpickler(pickle._Unpickler):
    dispatch = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> object:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _RefusedName(f"{module}.{name}") from None

    def persistent_load(self, pid: object) -> object:
        raise _RefusedName(f"persistent id {brief(pid)}")

    def get_extension(self, code: int) -> object:
        raise _RefusedName(f"extension {code}")

    # The instructions that hash what the pickle holds. Its items since the last mark are in
    # ``stack`` and what lies below the mark is in ``metastack``.

    def _set_item(self) -> None:
        _check_filled(self.stack[-3])
        _check_keys(self.stack[-2:-1])
        self.load_setitem()

    def _set_items(self) -> None:
        _check_filled(self.metastack[-1][-1])
        _check_keys(self.stack[::2])
        self.load_setitems()

    def _make_dict(self) -> None:
        _check_keys(self.stack[::2])
        self.load_dict()

    def _add_items(self) -> None:
        _check_keys(self.stack)
        self.load_additems()

    def _make_frozenset(self) -> None:
        _check_keys(self.stack)
        self.load_frozenset()

    dispatch[pickle.SETITEM[0]] = _set_item
    dispatch[pickle.SETITEMS[0]] = _set_items
    dispatch[pickle.DICT[0]] = _make_dict
    dispatch[pickle.ADDITEMS[0]] = _add_items
    dispatch[pickle.FROZENSET[0]] = _make_frozenset


def _check_keys(keys: Iterable[object]) -> None:
    """Refuses what takes long to hash: a tuple in tuples is hashed anew wherever it occurs."""
    for key in keys:
        if isinstance(key, tuple) and len(key) <= _MAX_KEY_LENGTH:
            is_plain = all(map(_is_plain_key, key))
        else:
            is_plain = _is_plain_key(key)
        if not is_plain:
            raise pickle.UnpicklingError(
                f"{brief(key)} is a dict key or set member; these may be text, bytes, numbers of "
                f"at most {_MAX_KEY_BITS} bits, or tuples of at most {_MAX_KEY_LENGTH} of them"
            )


def _is_plain_key(key: object) -> bool:
    if isinstance(key, int):
        return key.bit_length() <= _MAX_KEY_BITS
    return key is None or isinstance(key, (str, bytes, float))


def _check_filled(target: object) -> None:
    # An array would look into a deep tuple for ever.
    if type(target) is not dict:
        raise pickle.UnpicklingError(f"items are set in a {type(target).__name__}, not in a dict")


class _Name:
    """Stands for an allowed name: it can be called, and nothing in it can be changed."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable):
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: object) -> object:
        return self._function(*args)

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("what a pickle names cannot be changed")


class _PlainType:
    """Takes the place of a numpy dtype while it is being described by the pickle."""

    __slots__ = ("_dtype",)

    def __init__(self, description: str, align: object = None, copy: object = None):
        dtype = np.dtype(description) if isinstance(description, str) else None
        if dtype is None or dtype.kind not in _PLAIN_KINDS or dtype.shape:
            raise _RefusedName(f"numpy.dtype({brief(description)})")
        self._dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        _version, byte_order, subarray, names, fields = state[:5]
        if not subarray is names is fields is None or len(state) != 8:
            raise _RefusedName("a structured numpy.dtype")
        if byte_order not in ("<", ">", "=", "|"):
            raise ValueError(f"an array has the byte order {brief(byte_order)}")
        if byte_order != "|":
            self._dtype = self._dtype.newbyteorder(byte_order)

    @property
    def numpy_dtype(self) -> np.dtype:
        return self._dtype


class _CheckedArray(np.ndarray):
    """An array as the pickle machine makes it: empty first, then filled by ``__setstate__``."""

    def __setstate__(self, state: tuple) -> None:
        _version, shape, plain_type, is_fortran, data = state
        if not isinstance(plain_type, _PlainType):
            raise _RefusedName(f"a numpy array of {type(plain_type).__name__}")
        if isinstance(data, str):  # bytes of Python 2
            data = data.encode("iso-8859-1")
        if not isinstance(data, (bytes, bytearray)):
            raise TypeError(f"the content of an array is a {type(data).__name__}")
        dtype = plain_type.numpy_dtype
        size = dtype.itemsize
        if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
            raise ValueError(f"an array has the shape {brief(shape)}")
        for length in shape:
            if not isinstance(length, int) or not 0 <= length <= MAX_BYTES:
                raise ValueError(f"an array has the shape {brief(shape)}")
            size *= length
        if size != len(data):
            raise ValueError(f"an array of shape {shape} has {len(data)} bytes, not {size}")
        super().__setstate__((1, shape, dtype, bool(is_fortran), bytes(data)))


def _ndarray(*_args: object) -> None:
    raise _RefusedName("numpy.ndarray(...)")


def _reconstruct(array_type: object, shape: object, type_code: object) -> _CheckedArray:
    if array_type is not _NDARRAY:
        raise _RefusedName("an array that is no numpy.ndarray")
    return np.empty(0, np.uint8).view(_CheckedArray)


def _frombuffer(data: object, plain_type: object, shape: object, order: object) -> _CheckedArray:
    array = np.empty(0, np.uint8).view(_CheckedArray)
    array.__setstate__((1, shape, plain_type, order == "F", data))
    return array


def _scalar(plain_type: object, data: object = b"") -> object:
    if not isinstance(plain_type, _PlainType):
        raise _RefusedName(f"a numpy scalar of {type(plain_type).__name__}")
    if isinstance(data, str):
        data = data.encode("iso-8859-1")
    return np.frombuffer(data, plain_type.numpy_dtype, count=1)[0].item()


def _encode(text: str, encoding: str = "") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise _RefusedName(f"_codecs.encode(..., {brief(encoding)})")
    return text.encode("iso-8859-1")


def _no_bytes() -> bytes:
    return b""


def _plain_set(items: list | tuple = ()) -> set:
    _check_keys(items)
    return set(items)


def _plain_dict(items: list | tuple = ()) -> dict:
    pairs = [(key, value) for key, value in items]
    _check_keys(key for key, _ in pairs)
    return dict(pairs)


_NDARRAY = _Name(_ndarray)
_ALLOWED = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _Name(_PlainType),
    # Bytes and array contents as Python 3 writes them for Python 2.
    ("_codecs", "encode"): _Name(_encode),
    ("collections", "OrderedDict"): _Name(_plain_dict),
    **{(m, "bytes"): _Name(_no_bytes) for m in ("__builtin__", "builtins")},
    **{(m, "set"): _Name(_plain_set) for m in ("__builtin__", "builtins")},
}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _ALLOWED[_module, "_reconstruct"] = _Name(_reconstruct)
    _ALLOWED[_module, "scalar"] = _Name(_scalar)
for _module in ("numpy.core.numeric", "numpy._core.numeric"):
    _ALLOWED[_module, "_frombuffer"] = _Name(_frombuffer)
