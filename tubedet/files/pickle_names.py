"""The names that pickles of plain data may use, and what stands for them.

Each is a checked version of the function of that name: it makes plain data alone and believes no
size.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import numpy as np

_PLAIN_KINDS = "biufSU"
_MAX_SHOWN = 200  # characters
_MAX_DIMENSIONS = 32
_MAX_LENGTH = 2**32  # of an array, along one dimension
_MAX_KEY_LENGTH = 16  # of a tuple
_MAX_KEY_BITS = 64  # of a whole number


class RefusedName(Exception):
    """Carries the refused name out of the pickle machine."""


def brief(value: object) -> str:
    """Show a value of a file from strangers in a message, whatever its size and depth.

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


def check_keys(keys: Iterable[object]) -> None:
    """Refuse what takes long to hash: a tuple in tuples is hashed anew wherever it occurs."""
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


class AllowedName:
    """Stands for an allowed name: it can be called, and nothing in it can be changed."""

    __slots__ = ("_count", "_function")
    _count: Callable[[object], None]
    _function: Callable

    def __init__(self, function: Callable, count: Callable[[object], None]):
        object.__setattr__(self, "_function", function)
        object.__setattr__(self, "_count", count)

    def __call__(self, *args: object) -> object:
        """Call the function and count what it makes."""
        made = self._function(*args)
        self._count(made)
        return made

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError("what a pickle names cannot be changed")

    def stands_for(self, function: Callable) -> bool:
        """Tell whether it is ``function`` that is called."""
        return self._function is function


class _PlainType:
    """Takes the place of a numpy dtype while it is being described by the pickle."""

    __slots__ = ("_dtype",)

    def __init__(self, description: str, align: object = None, copy: object = None):
        dtype = np.dtype(description) if isinstance(description, str) else None
        if dtype is None or dtype.kind not in _PLAIN_KINDS or dtype.shape or not dtype.itemsize:
            raise RefusedName(f"numpy.dtype({brief(description)})")
        self._dtype = dtype

    def __setstate__(self, state: tuple) -> None:
        _version, byte_order, subarray, names, fields = state[:5]
        if not subarray is names is fields is None or len(state) != 8:
            raise RefusedName("a structured numpy.dtype")
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
            raise RefusedName(f"a numpy array of {type(plain_type).__name__}")
        if isinstance(data, str):  # bytes of Python 2
            data = data.encode("iso-8859-1")
        if not isinstance(data, (bytes, bytearray)):
            raise TypeError(f"the content of an array is a {type(data).__name__}")
        dtype = plain_type.numpy_dtype
        size = dtype.itemsize
        if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS:
            raise ValueError(f"an array has the shape {brief(shape)}")
        for length in shape:
            if not isinstance(length, int) or not 0 <= length <= _MAX_LENGTH:
                raise ValueError(f"an array has the shape {brief(shape)}")
            size *= length
        if size != len(data):
            raise ValueError(f"an array of shape {shape} has {len(data)} bytes, not {size}")
        super().__setstate__((1, shape, dtype, bool(is_fortran), bytes(data)))


def _ndarray(*_args: object) -> None:
    raise RefusedName("numpy.ndarray(...)")


def _reconstruct(array_type: object, shape: object, type_code: object) -> _CheckedArray:
    if not (isinstance(array_type, AllowedName) and array_type.stands_for(_ndarray)):
        raise RefusedName("an array that is no numpy.ndarray")
    return np.empty(0, np.uint8).view(_CheckedArray)


def _frombuffer(data: object, plain_type: object, shape: object, order: object) -> _CheckedArray:
    array = np.empty(0, np.uint8).view(_CheckedArray)
    array.__setstate__((1, shape, plain_type, order == "F", data))
    return array


def _numpy_scalar(plain_type: object, data: object = b"") -> np.generic:
    if not isinstance(plain_type, _PlainType):
        raise RefusedName(f"a numpy scalar of {type(plain_type).__name__}")
    if isinstance(data, str):
        data = data.encode("iso-8859-1")
    return np.frombuffer(data, plain_type.numpy_dtype, count=1)[0]


def _plain_scalar(plain_type: object, data: object = b"") -> object:
    return _numpy_scalar(plain_type, data).item()


def _encode(text: str, encoding: str = "") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise RefusedName(f"_codecs.encode(..., {brief(encoding)})")
    return text.encode("iso-8859-1")


def _no_bytes() -> bytes:
    return b""


def _plain_set(items: list | tuple = ()) -> set:
    check_keys(items)
    return set(items)


def _plain_dict(items: list | tuple = ()) -> dict:
    pairs = [(key, value) for key, value in items]
    check_keys(key for key, _ in pairs)
    return dict(pairs)


def _by_module(modules: tuple[str, ...], name: str, function: Callable) -> dict:
    return {(module, name): function for module in modules}


_BUILTINS = ("__builtin__", "builtins")
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")

#: Dicts and lists of numpy arrays and scalars, which keep their types: files of weights.
ARRAY_DATA: Mapping[tuple[str, str], Callable] = MappingProxyType(
    {
        ("numpy", "ndarray"): _ndarray,
        ("numpy", "dtype"): _PlainType,
        # Bytes and array contents as Python 3 writes them for Python 2.
        ("_codecs", "encode"): _encode,
        ("collections", "OrderedDict"): _plain_dict,
        **_by_module(_BUILTINS, "bytes", _no_bytes),
        **_by_module(_MULTIARRAY, "_reconstruct", _reconstruct),
        **_by_module(_MULTIARRAY, "scalar", _numpy_scalar),
        **_by_module(_NUMERIC, "_frombuffer", _frombuffer),
    }
)
#: The same and sets; numpy scalars become Python's numbers and text: annotations.
PLAIN_DATA: Mapping[tuple[str, str], Callable] = MappingProxyType(
    {
        **ARRAY_DATA,
        **_by_module(_BUILTINS, "set", _plain_set),
        **_by_module(_MULTIARRAY, "scalar", _plain_scalar),
    }
)
