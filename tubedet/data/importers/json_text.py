"""The text of json files: errors that name the line, and lists too long to be held in memory."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from tubedet.data.annotations.text import AnnotationError, open_unpacked

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")


@contextlib.contextmanager
def naming_file(path: Path) -> Iterator[None]:
    """Turn errors of Python's json into errors that name a file.

    Args:
        path: the file.

    Yields:
        None: in this context.

    Raises:
        AnnotationError: if the text is no json.
    """
    try:
        yield
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}:{error.lineno}: no valid json: {error.msg}") from None
    except AnnotationError:
        raise
    # ValueError: undecodable text, or a number too long for Python (whose advice is left out).
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"{path}: no valid json: {str(error).partition(';')[0]}") from None


def json_text(path: Path) -> str:
    """Return the text of a file.

    Args:
        path: the file, plain or gzip-compressed.

    Raises:
        AnnotationError: see :func:`.open_unpacked`.
        ValueError: if it is no text, see :func:`naming_file`.
        OSError: if it cannot be read.
    """
    with open_unpacked(path) as stream:
        content = stream.read()
    encoding = json.detect_encoding(content)
    return content.decode("utf-8-sig" if encoding == "utf-8" else encoding)


def decode_members(text: str, long_lists: Collection[str]) -> Any:
    """Decode a json text whose outermost value should be an object.

    Args:
        text: the text.
        long_lists: names of members which become a :class:`LongList`, if they are lists.

    Returns:
        the object as a dict; any other outermost value as it is.

    Raises:
        ValueError: if it is no json, or a name occurs twice.
    """
    place = _skip(text, 0)
    if text[place : place + 1] != "{":
        return json.loads(text)
    members: dict[str, Any] = {}
    place = _skip(text, place + 1)
    while text[place : place + 1] != "}" or members:
        start = place
        if text[place : place + 1] != '"':
            raise json.JSONDecodeError("Expecting property name in double quotes", text, place)
        name, place = _DECODER.raw_decode(text, place)
        if name in members:
            raise json.JSONDecodeError(f"the name {name!r} occurs twice", text, start)
        place = _skip(text, place)
        _expect(text, place, ":")
        place = _skip(text, place + 1)
        if name in long_lists and text[place : place + 1] == "[":
            members[name] = LongList(text, place)
            place = members[name].end
        else:
            members[name], place = _DECODER.raw_decode(text, place)
        place = _skip(text, place)
        if text[place : place + 1] == "}":
            break
        _expect(text, place, ",")
        place = _skip(text, place + 1)
    if (end := _skip(text, place + 1)) < len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return members


class LongList:
    """A list within a text whose values are decoded whenever it is gone through.

    Args:
        text: json.
        start: place of the opening bracket.

    Attributes:
        end: place behind the closing bracket.

    Raises:
        ValueError: if it is no json.
    """

    def __init__(self, text: str, start: int):
        self._text = text
        self._start = start
        end = start + 1
        for _, place in self._decoded():
            end = place
        self.end = text.index("]", end) + 1

    def __iter__(self) -> Iterator[Any]:
        return (value for value, _ in self._decoded())

    def _decoded(self) -> Iterator[tuple[Any, int]]:
        """Each value and the place behind it."""
        text, place = self._text, _skip(self._text, self._start + 1)
        if text[place : place + 1] == "]":
            return
        while True:
            value, place = _DECODER.raw_decode(text, place)
            yield value, place
            place = _skip(text, place)
            if text[place : place + 1] == "]":
                return
            _expect(text, place, ",")
            place = _skip(text, place + 1)


def _skip(text: str, place: int) -> int:
    """Return the place behind white space."""
    match = _SPACE.match(text, place)
    assert match is not None  # it may be empty
    return match.end()


def _expect(text: str, place: int, character: str) -> None:
    if text[place : place + 1] != character:
        raise json.JSONDecodeError(f"Expecting {character!r} delimiter", text, place)
