"""Text files of annotations: opening them, and errors that name file and line."""

from __future__ import annotations

import contextlib
import csv
import gzip
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from typing import NoReturn, TextIO, TypeVar

from tubedet.errors import UserError

_GZIP_MAGIC = b"\x1f\x8b"
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
    with open(path, "rb") as binary:
        compressed = binary.read(2) == _GZIP_MAGIC
    opener = gzip.open if compressed else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as stream:
            yield stream
    except UnicodeDecodeError as error:
        with opener(path, "rb") as binary:
            line = _first_undecodable_line(binary.read().splitlines())
        raise AnnotationError(
            f"{path}:{line}: not UTF-8 text ({error.reason}); save the file as UTF-8"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise AnnotationError(f"{path}: the gzip file is broken or cut off ({error})") from error


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


def _first_undecodable_line(lines: list[bytes]) -> int:
    for number, line in enumerate(lines, start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            return number
    return len(lines)


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
