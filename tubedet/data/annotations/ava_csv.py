"""Readers of the official AVA text files: box csv, timestamp csv and label map (numpy only)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from decimal import Decimal, InvalidOperation
from os import PathLike
from typing import Any

import numpy as np

from .ava_table import AVATable
from .label_map_entries import label_map_entries
from .row_hints import describe_column_count, describe_header, is_blank
from .text import (
    AnnotationError,
    OnError,
    csv_rows,
    finite_float,
    open_text,
    parse_cell,
    raise_error,
    whole_number,
)

_LINES_PER_CHUNK = 16384
_SPARE_WIDTH = 24
_MAX_UNIFORM_ID_WIDTH = 256  # the fast parser reserves that much for every row
MAX_ACTION_ID = 100_000  # action lists become arrays with a column for each id up to the last
# Characters; the label map of AVA has 4,000, and reading takes up to 40 times as much.
MAX_LABEL_MAP = 1 << 20
_COLUMNS = tuple(
    f"column {number} ({name})"
    for number, name in enumerate(
        ("video_id", "timestamp", "x1", "y1", "x2", "y2", "action_id", "score or person_id"), 1
    )
)
_ROW = np.dtype(
    [
        ("video", np.int32),
        ("timestamp", np.float64),
        ("box", np.float64, 4),
        ("action_id", np.int64),
        ("last", np.float64),
        ("line", np.int32),
    ]
)


def read_ava_csv(
    path: str | PathLike,
    *,
    ava_kinetics: bool = False,
    skip_blank: bool = False,
    on_error: OnError = raise_error,
) -> AVATable:
    """Read a ground-truth or prediction csv of AVA, plain or gzip-compressed.

    Rows are ``video_id,timestamp,x1,y1,x2,y2,action_id[,score or person_id]``, without a header.
    What the official reader (ActivityNet, ``get_ava_performance.py``) accepts is accepted: boxes
    outside [0, 1] or inverted, any score, any action id, timestamps with or without padding, rows
    of 7 and 8 columns in one file, an empty file. Beyond it, NaN and infinite numbers are refused:
    they have no rank and no overlap.

    Args:
        path: The csv file.
        ava_kinetics: Read the format of 2020 (AVA-Kinetics): timestamps may have decimals, and a
            row ``video_id,timestamp`` lists an annotated key frame that holds nobody.
        skip_blank: Leave out lines that are empty or hold commas alone, which are errors otherwise.
        on_error: Called with the error of each malformed row, which is left out then. The default
            raises it.

    Returns:
        AVATable: the rows in file order.

    Raises:
        AnnotationError: A row has the wrong number of columns or a value that is no (finite)
            number of the expected kind (see ``on_error``), or the file is no UTF-8 text.
        OSError: The file cannot be read.
    """
    with open_text(path) as stream:
        return parse_ava_csv(
            stream,
            source=str(path),
            ava_kinetics=ava_kinetics,
            skip_blank=skip_blank,
            on_error=on_error,
        )


def parse_ava_csv(
    lines: Iterable[str],
    *,
    source: str,
    ava_kinetics: bool = False,
    skip_blank: bool = False,
    on_error: OnError = raise_error,
) -> AVATable:
    """Do what :func:`read_ava_csv` does, for lines that come from anywhere.

    Args:
        lines: One csv row each.
        source: What messages call the origin of the lines.
        ava_kinetics: See :func:`read_ava_csv`.
        skip_blank: See :func:`read_ava_csv`.
        on_error: See :func:`read_ava_csv`.

    Returns:
        AVATable: the rows in order.

    Raises:
        AnnotationError: See :func:`read_ava_csv`.
    """
    parser = _ChunkParser(source, ava_kinetics, skip_blank, on_error)
    lines = iter(lines)
    # Buffers that grow in place: a million rows are never held twice.
    buffers, lines_read = [bytearray() for _ in _ROW.names], 0
    while chunk := list(itertools.islice(lines, _LINES_PER_CHUNK)):
        rows = parser.parse_uniform(chunk, lines_read)
        rows = parser.parse_rows(chunk, lines_read) if rows is None else rows
        for buffer, name in zip(buffers, _ROW.names):
            buffer += rows[name].tobytes()
        lines_read += len(chunk)
    columns: list[Any] = [
        np.frombuffer(buffer, _ROW[name].base).reshape(-1, *_ROW[name].shape)
        for buffer, name in zip(buffers, _ROW.names)
    ]
    columns += [tuple(parser.empty.values()), tuple(parser.empty)]
    return AVATable(source, tuple(parser.videos), *columns)


def read_timestamps(
    path: str | PathLike,
    *,
    ava_kinetics: bool = False,
    skip_blank: bool = False,
    on_error: OnError = raise_error,
) -> set[tuple[str, float]]:
    """Read a list of key frames, such as the official excluded timestamps.

    Args:
        path: csv of ``video_id,timestamp`` rows, plain or gzip-compressed.
        ava_kinetics: Timestamps may have decimals.
        skip_blank: See :func:`read_ava_csv`.
        on_error: See :func:`read_ava_csv`.

    Returns:
        set[tuple[str, float]]: (video id, seconds), equal to those of :class:`AVATable`.

    Raises:
        AnnotationError: A row has not two columns, or its timestamp is no number.
        OSError: The file cannot be read.
    """
    parse_timestamp = _timestamp_parser(ava_kinetics)
    key_frames = set()
    with open_text(path) as stream:
        for line, row in csv_rows(stream, str(path), on_error=on_error):
            if skip_blank and is_blank(row):
                continue
            where = f"{path}:{line}"
            try:
                if len(row) != 2:
                    expected = "expected 2 (video_id,timestamp)"
                    raise AnnotationError(f"{where}: {len(row)} columns, {expected}")
                key_frames.add((row[0], _parse_column(parse_timestamp, row, 1, where)))
            except AnnotationError as error:
                on_error(error)
    return key_frames


def read_label_map(path: str | PathLike) -> dict[int, str]:
    """Read an AVA label map (pbtxt).

    Both published forms are understood: ``item { name: "sit" id: 11 }`` (the 60 evaluated classes)
    and ``label { name: "sit" label_id: 11 label_type: PERSON_MOVEMENT }`` (all 80); also lines of
    ``11: sit``, as mmaction2 has them, and comments that begin with ``#``.

    Args:
        path: The file, plain or gzip-compressed.

    Returns:
        dict[int, str]: action id (from 1) to class name, in file order.

    Raises:
        AnnotationError: An entry lacks its name or id, the id is not a whole number from 1 to
            100,000, an id or a name occurs twice, something stands outside of the entries, or
            there is none.
        OSError: The file cannot be read.
    """
    with open_text(path) as stream:
        text = stream.read(MAX_LABEL_MAP + 1)
    if len(text) > MAX_LABEL_MAP:
        raise AnnotationError(
            f"{path}: more than {MAX_LABEL_MAP:,} characters: is this the label map?"
        )
    label_map: dict[int, str] = {}
    names: set[str] = set()
    for entry in label_map_entries(text, str(path)):
        where = f"{path}:{entry.line}"
        if not entry.name or entry.id is None:
            missing = "id: or label_id:" if entry.name else 'name: "..."'
            raise AnnotationError(f"{where}: this label map entry has no {missing}")
        number = parse_cell(_action_id, entry.id, where=where, column="the id")
        if number in label_map or entry.name in names:
            raise AnnotationError(f"{where}: id {number} or name {entry.name!r} occurs twice")
        label_map[number] = entry.name
        names.add(entry.name)
    if not label_map:
        raise AnnotationError(
            f"{path}: no 'item {{...}}' or 'label {{...}}' entry in this label map"
        )
    return label_map


class _Interned(dict):
    """Maps each distinct text to its value, computed when the text is first seen."""

    def __init__(self, compute: Callable[[str], float]):
        super().__init__()
        self._compute = compute

    def __missing__(self, text: str):
        value = self[text] = self._compute(text)
        return value


def _each_run(values: _Interned, texts: np.ndarray) -> np.ndarray:
    """Return the values of (N,) texts; neighbours are mostly equal and looked up once."""
    starts = np.flatnonzero(np.r_[True, texts[1:] != texts[:-1]])
    run_values = np.array([values[text] for text in texts[starts].tolist()])
    return np.repeat(run_values, np.diff(starts, append=len(texts)))


class _ChunkParser:
    """Turns lines into ``_ROW`` arrays; keeps the video ids and two-column rows seen so far.

    ``parse_rows`` defines the format. ``parse_uniform`` gives the same for the common case, every
    row having the same 7 or 8 plain columns, several times faster, or None if the case is another.
    """

    def __init__(self, source: str, ava_kinetics: bool, skip_blank: bool, on_error: OnError):
        self._source = source
        self._skip_blank = skip_blank
        self._on_error = on_error
        self._column_counts = (2, 7, 8) if ava_kinetics else (7, 8)
        self.videos = _Interned(lambda video_id: len(self.videos))
        self.empty: dict[int, tuple[str, float]] = {}  # key frame by line
        self._timestamps = _Interned(_timestamp_parser(ava_kinetics))
        self._action_ids = _Interned(_row_action_id)

    def parse_uniform(self, chunk: list[str], lines_before: int) -> np.ndarray | None:
        if not chunk[0].strip() or chunk[0].find(",") > _MAX_UNIFORM_ID_WIDTH:
            return None
        has_last_column = chunk[0].count(",") == 7
        text_widths = {
            "video": chunk[0].find(",") + _SPARE_WIDTH,
            "timestamp": _SPARE_WIDTH,
            "action_id": _SPARE_WIDTH,
        }
        fields: list[tuple] = [(name, f"U{width}") for name, width in text_widths.items()]
        fields.insert(2, ("box", np.float64, 4))
        fields += [("last", np.float64)] if has_last_column else []
        try:
            cells = np.loadtxt(chunk, dtype=fields, delimiter=",", comments=None, ndmin=1)
            timestamps = _each_run(self._timestamps, cells["timestamp"])
            action_ids = _each_run(self._action_ids, cells["action_id"])
        except (ValueError, ArithmeticError):
            return None
        rows = np.zeros(len(cells), dtype=_ROW)
        rows["box"] = cells["box"]
        if has_last_column:
            rows["last"] = cells["last"]
        if (
            len(cells) != len(chunk)  # empty lines have been skipped
            or '"' in "".join(chunk)
            or not (np.isfinite(rows["box"]).all() and np.isfinite(rows["last"]).all())
            or any((np.char.str_len(cells[n]) == w).any() for n, w in text_widths.items())  # cut
        ):
            return None
        if not has_last_column:
            rows["last"] = np.nan
        rows["video"] = _each_run(self.videos, cells["video"])
        rows["timestamp"] = timestamps
        rows["action_id"] = action_ids
        rows["line"] = np.arange(lines_before + 1, lines_before + 1 + len(rows))
        return rows

    def parse_rows(self, chunk: list[str], lines_before: int) -> np.ndarray:
        rows = []
        for line, row in csv_rows(
            chunk, self._source, lines_before=lines_before, on_error=self._on_error
        ):
            if self._skip_blank and is_blank(row):
                continue
            try:
                parsed = self._parse_row(row, line)
            except AnnotationError as error:
                self._on_error(error)
                continue
            if parsed is not None:
                rows.append(parsed)
        return np.array(rows, dtype=_ROW)

    def _parse_row(self, row: list[str], line: int) -> tuple | None:
        where = f"{self._source}:{line}"
        if line == 1 and (header := describe_header(row)):
            raise AnnotationError(f"{where}: {header}")
        if len(row) not in self._column_counts:
            raise AnnotationError(f"{where}: {describe_column_count(row)}")
        timestamp = _parse_column(self._timestamps.__getitem__, row, 1, where)
        if len(row) == 2:
            self.empty[line] = (row[0], timestamp)
            return None
        box = [_parse_column(finite_float, row, column, where) for column in range(2, 6)]
        action_id = _parse_column(self._action_ids.__getitem__, row, 6, where)
        last = _parse_column(_last_number, row, 7, where) if len(row) == 8 else np.nan
        return self.videos[row[0]], timestamp, box, action_id, last, line


def _parse_column(parse: Callable[[str], float], row: list[str], column: int, where: str):
    return parse_cell(parse, row[column], where=where, column=_COLUMNS[column])


def _last_number(text: str) -> float:
    if not text.strip():
        raise ValueError("expected a number; without one, leave out the comma before it")
    return finite_float(text)


def _row_action_id(text: str) -> int:
    try:
        return whole_number(text)
    except ValueError as error:
        raise ValueError(f"{error}, the id of an action") from None


def _action_id(text: str) -> int:
    number = whole_number(text)
    if not 1 <= number <= MAX_ACTION_ID:
        raise ValueError(f"expected a positive whole number of at most {MAX_ACTION_ID}")
    return number


def _whole_seconds(text: str) -> float:
    try:
        return float(whole_number(text))
    except ValueError as error:
        raise ValueError(
            f"{error} of seconds; decimals belong to AVA-Kinetics: set the protocol official_2020 "
            "(TEST.AVA_PROTOCOL in a config)"
        ) from None


def _decimal_seconds(text: str) -> float:
    try:
        number = float(Decimal(text))
    except InvalidOperation:
        raise ValueError("expected a number of seconds") from None
    if not np.isfinite(number):
        raise ValueError("expected a finite number of seconds")
    return float(f"{number:.6f}")


def _timestamp_parser(ava_kinetics: bool) -> Callable[[str], float]:
    return _decimal_seconds if ava_kinetics else _whole_seconds
