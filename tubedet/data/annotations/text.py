"""Text files of annotations: opening them, and errors that name file and line."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import math
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from typing import BinaryIO, NoReturn, TextIO, TypeVar

from tubedet.errors import UserError

_GZIP_MAGIC = b"\x1f\x8b"
# A megabyte of gzip can hold a gigabyte of spaces. Annotations have ratios of 5 to 40, and indented
# json of persons who stand still up to 90.
_MIN_UNPACKED_BYTES, _MAX_RATIO = 16 << 20, 100
_Value = TypeVar("_Value")


class AnnotationError(UserError):
    """An annotation or prediction file breaks its format; the message names file and line."""


OnError = Callable[[AnnotationError], None]


def raise_error(error: AnnotationError) -> NoReturn:
    """Return what readers do with an error unless they are told to go on.

    Args:
        error: of one row of a file.

    Raises:
        AnnotationError: the error.
    """
    raise error


@contextlib.contextmanager
def open_text(path: str | PathLike) -> Iterator[TextIO]:
    """Open a UTF-8 text file, plain or gzip-compressed, with or without byte order mark.

    Args:
        path: the file.

    Yields:
        TextIO: the text, every line end as a line feed.

    Raises:
        AnnotationError: the file is no UTF-8 text, or its compression is broken; also when that
            shows while the text is read within the ``with`` block.
        OSError: the file cannot be read.
    """
    try:
        with open_unpacked(path) as binary:
            yield io.TextIOWrapper(binary, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        with open_unpacked(path) as binary:
            line = _first_undecodable_line(binary)
        raise AnnotationError(
            f"{path}:{line}: not UTF-8 text ({error.reason}); save the file as UTF-8"
        ) from error


@contextlib.contextmanager
def open_unpacked(path: str | PathLike) -> Iterator[BinaryIO]:
    """Open a file, plain or gzip-compressed, for reading what it holds.

    Args:
        path: the file.

    Yields:
        BinaryIO: its content.

    Raises:
        AnnotationError: the compression is broken, or the content is out of all proportion to the
            file; also when that shows while it is read within the ``with`` block.
        OSError: the file cannot be read.
    """
    with open(path, "rb") as packed:
        is_packed = packed.peek(2)[:2] == _GZIP_MAGIC
        if not is_packed:
            yield packed
            return
        try:
            with gzip.open(packed) as content, io.BufferedReader(_Limited(content, path)) as stream:
                yield stream
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise AnnotationError(
                f"{path}: the gzip file is broken or cut off ({error})"
            ) from error


def csv_rows(
    lines: Iterable[str], source: str, *, lines_before: int = 0, on_error: OnError = raise_error
) -> Iterator[tuple[int, list[str]]]:
    """Split every line on its own: no cell of these files spans lines.

    So a stray quotation mark damages one row and not all that follow it.

    Args:
        lines: the lines of the file.
        source: what messages call the file.
        lines_before: number of lines of the file in front of these.
        on_error: called for a line which is no csv; the line is left out then.

    Yields:
        tuple[int, list[str]]: 1-based line number and cells; no cells for an empty line.

    Raises:
        AnnotationError: by default for a line which is no csv.
    """
    for number, line in enumerate(lines, start=lines_before + 1):
        try:
            yield number, next(csv.reader((line,), strict=True), [])
        except csv.Error as error:
            on_error(AnnotationError(f"{source}:{number}: {error}"))


def parse_cell(parse: Callable[[str], _Value], text: str, *, where: str, column: str) -> _Value:
    """Convert one cell.

    Args:
        parse: the conversion; raises ValueError or ArithmeticError with a reason.
        text: content of the cell.
        where: ``file:line`` for messages.
        column: what messages call the column.

    Returns:
        what ``parse`` returns.

    Raises:
        AnnotationError: the cell cannot be converted.
    """
    try:
        return parse(text)
    except (ValueError, ArithmeticError) as error:
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        raise AnnotationError(f"{where}: {shown!r} in {column}: {error}") from error


def finite_float(text: str) -> float:
    """Convert text to a finite number.

    Raises:
        ValueError: it is none.
    """
    try:
        number = float(text)
    except ValueError:
        raise ValueError("expected a number") from None
    if not math.isfinite(number):
        raise ValueError("expected a finite number")
    return number


def whole_number(text: str) -> int:
    """Convert text to a whole number that a float64 holds exactly.

    Raises:
        ValueError: it is none.
    """
    try:
        number = int(text)
    except ValueError:
        raise ValueError("expected a whole number") from None
    if abs(number) > 2**53:
        raise ValueError("expected a whole number of at most 2**53")
    return number


class _Limited(io.RawIOBase):
    """The content of a gzip file, up to what a file of its size may hold."""

    def __init__(self, content: gzip.GzipFile, path: str | PathLike):
        self._content, self._path = content, path
        self._most = _MIN_UNPACKED_BYTES + _MAX_RATIO * os.path.getsize(path)
        self._left = self._most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        count = self._content.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise AnnotationError(
                f"{self._path}: it unpacks to more than {self._most:,} bytes, which is odd for its "
                "size; if it is right, unpack it with gunzip"
            )
        return count


def _first_undecodable_line(lines: Iterable[bytes]) -> int:
    number = 1
    for text in lines:
        for line in text.splitlines():
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
            number += 1
    return number


def is_number(text: str) -> bool:
    """Tell whether a text is a number, NaN and infinity among them.

    Args:
        text: a field of a row.
    """
    try:
        float(text)
    except ValueError:
        return False
    return True
