"""Reading json of foreign tools: values with the place where they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

from tubedet.data.annotations.text import AnnotationError

from .json_text import LongList, decode_members, json_text, naming_file

_LARGEST = 10**7  # coordinate or frame number
_LARGEST_ID = 2**53  # ids are read as floating point from a csv


def read_json(path: Path) -> Entry:
    """Read a file.

    Args:
        path: the file, plain or gzip-compressed.

    Returns:
        its outermost value.

    Raises:
        AnnotationError: if it is no json.
        OSError: if it cannot be read.
    """
    with naming_file(path):
        return Entry(json.loads(json_text(path)), str(path))


def read_json_object(path: Path, *long_lists: str) -> Entry:
    """Read a file whose outermost value is an object with long lists.

    Their entries are made one at a time, whenever :meth:`Entry.each` goes through them, so the
    memory for them is that of the text. Of a large file they are the most part by far.

    Args:
        path: the file, plain or gzip-compressed.
        long_lists: names of these members.

    Returns:
        its outermost value.

    Raises:
        AnnotationError: if it is no json with an object.
        OSError: if it cannot be read.
    """
    with naming_file(path):
        entry = Entry(decode_members(json_text(path), long_lists), str(path))
    if not isinstance(entry.value, dict):
        raise AnnotationError(f"{path}:1: expected an object, {{...}}")
    return entry


def parse_json(text: str, file: str, inner: str) -> Entry:
    """Parse json that stands within another file, such as in a column of a csv.

    Args:
        text: the json.
        file: name of the file, with the line.
        inner: name of the place, such as that of the column.

    Returns:
        its outermost value.

    Raises:
        AnnotationError: if it is no json.
    """
    try:
        return Entry(json.loads(text), file, inner)
    except (ValueError, RecursionError) as error:
        # Python's advice on numbers that are too long is left out.
        problem = str(error).partition(";")[0]
        raise AnnotationError(f"{file}: {inner} is no valid json: {problem}") from None


def _is_coordinate(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < _LARGEST  # which NaN is not; an int may be too long for a float


class Entry:
    """A value of a json file.

    Args:
        value: what stands there.
        file: name of the file.
        inner: where it stands there, such as "annotations[3]"; empty for the outermost value.
    """

    __slots__ = ("_file", "_inner", "value")

    def __init__(self, value: Any, file: str, inner: str = ""):
        self.value = value
        self._file = file
        self._inner = inner

    def error(self, problem: str) -> AnnotationError:
        """Return an error that names the place.

        Args:
            problem: goes on behind the place, such as "has no bbox".
        """
        return AnnotationError(f"{self._file}: {self.place} {problem}")

    @property
    def place(self) -> str:
        """Where it stands in the file."""
        return self._inner or "the file"

    def __contains__(self, name: str) -> bool:
        return isinstance(self.value, dict) and self.value.get(name) is not None

    def child(self, *names: str) -> Entry:
        """Return the first of some members that is there.

        Args:
            names: of members of an object.

        Raises:
            AnnotationError: if there is none, or this is no object.
        """
        if not isinstance(self.value, dict):
            raise self.error("is no object")
        for name in names:
            if self.value.get(name) is not None:
                return Entry(
                    self.value[name], self._file, f"{self._inner}.{name}" if self._inner else name
                )
        raise self.error(f"has no {' or '.join(names)}")

    def items(self, *names: str) -> list[Entry]:
        """Return the entries of a list.

        Args:
            names: of members as of :meth:`child`; none: this itself is the list.

        Raises:
            AnnotationError: if it is no list.
        """
        place = self.child(*names) if names else self
        if not isinstance(place.value, list):
            raise place.error("is no list")
        return [
            Entry(value, self._file, f"{place._inner}[{i}]") for i, value in enumerate(place.value)
        ]

    def each(self, *names: str) -> Iterator[Entry]:
        """Go through the entries of a list, which may be a :class:`.LongList`.

        Args:
            names: see :meth:`items`.

        Yields:
            Entry: one after the other, each of which must be an object.

        Raises:
            AnnotationError: if it is no list, or an entry is no object.
        """
        place = self.child(*names) if names else self
        if not isinstance(place.value, (list, LongList)):
            raise place.error("is no list")
        for i, value in enumerate(place.value):
            entry = Entry(value, self._file, f"{place._inner}[{i}]")
            if not isinstance(value, dict):
                raise entry.error("is no object")
            yield entry

    def members(self, *names: str) -> dict[str, Entry]:
        """Return the members of an object by their names.

        Args:
            names: see :meth:`items`.

        Raises:
            AnnotationError: if it is no object.
        """
        place = self.child(*names) if names else self
        if not isinstance(place.value, dict):
            raise place.error("is no object")
        return {
            name: Entry(value, self._file, f"{place._inner}[{name!r}]")
            for name, value in place.value.items()
        }

    def get(self, *names: str) -> str | int | float:
        """Return a number or text.

        Args:
            names: of members, of which the first one that is there is meant.

        Raises:
            AnnotationError: if there is none.
        """
        value = next((self.value[n] for n in names if n in self), None)
        if value is None or isinstance(value, (bool, list, dict)):
            raise self.error(f"has no {' or '.join(names)}")
        return value

    def text(self, *names: str) -> str:
        """Return a text that is not empty.

        Args:
            names: see :meth:`get`.

        Raises:
            AnnotationError: if there is none.
        """
        value = self.get(*names)
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"has no text as {' or '.join(names)}")
        return value

    def whole(self, *names: str) -> int:
        """Return a whole number, which may stand as text, within what frames and ids can be.

        Args:
            names: see :meth:`get`.

        Raises:
            AnnotationError: if there is none.
        """
        value = self.get(*names)
        name = next(name for name in names if name in self)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
            value = int(value)
        if not isinstance(value, int):
            raise self.error(f"has the {name} {value!r:.80}, expected a whole number")
        if abs(value) >= _LARGEST_ID:
            raise self.error(f"has the {name} {value!r:.80}, expected less than {_LARGEST_ID}")
        return value

    def number(self, *names: str) -> float:
        """Return a number within what coordinates and times can be.

        Args:
            names: see :meth:`get`.

        Raises:
            AnnotationError: if there is none.
        """
        value = self.get(*names)
        if not _is_coordinate(value):
            raise self.error(f"has the {names[0]} {str(value)[:80]!r}, expected a number")
        return value

    def numbers(self, count: int) -> tuple[float, ...]:
        """Return this list as so many numbers.

        Args:
            count: how many it must have.

        Raises:
            AnnotationError: if it is something else, or a number is no coordinate.
        """
        value = self.value
        if not (
            isinstance(value, list) and len(value) == count and all(map(_is_coordinate, value))
        ):
            raise self.error(f"is {str(value)[:80]}, expected {count} numbers")
        return tuple(value)
