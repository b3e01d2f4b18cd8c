"""Readers of the lists beside an AVA csv: annotated seconds, video files, sizes and frame rates."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from os import PathLike

from tubedet.files.atomic_writing import open_atomically

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

_MAX_STARTS = 10**6  # rows
_LARGEST_START = 10**7  # seconds, four months
VIDEO_INFO_COLUMNS = ("video_id", "height", "width", "fps", "start_second", "num_frames")


@dataclass(frozen=True)
class VideoInfo:
    """What the video info csv knows of a stored video.

    Attributes:
        height, width: of its frames, pixels.
        fps: frames per second.
        start_second: time of its first frame on the clock of the annotations.
        num_frames: number of its frames; None if the csv does not tell.
    """

    height: int
    width: int
    fps: float
    start_second: float
    num_frames: int | None = None


def read_seconds(path: str | PathLike, *, on_error: OnError = raise_error) -> list[float]:
    """Read the list of the annotated seconds (AVA: ``0902`` to ``1798``), one per line.

    Args:
        path: the text file; empty lines are left out.
        on_error: called with the error of each malformed line, which is left out then; the
            default raises it.

    Returns:
        list[float]: seconds in file order.

    Raises:
        AnnotationError: a line holds no whole number (see ``on_error``).
        OSError: the file cannot be read.
    """
    seconds = []
    for line, text in _filled_lines(path):
        try:
            where = f"{path}:{line}"
            seconds.append(
                float(parse_cell(whole_number, text, where=where, column="the list of seconds"))
            )
        except AnnotationError as error:
            on_error(error)
    return seconds


def read_file_names(path: str | PathLike) -> dict[str, str]:
    """Read a list of video files, one per line.

    Args:
        path: the text file; empty lines are left out.

    Returns:
        dict[str, str]: video id (the name without its ending) to file name, in file order.

    Raises:
        AnnotationError: the file is no text.
        OSError: the file cannot be read.
    """
    return {os.path.splitext(text)[0]: text for _, text in _filled_lines(path)}


def read_start_seconds(path: str | PathLike) -> dict[str, float]:
    """Read at which second of the annotation each stored video begins.

    Args:
        path: csv of ``video,second``, plain or gzip-compressed; a first line of column names and
            empty lines are left out.

    Returns:
        dict[str, float]: by video id.

    Raises:
        AnnotationError: a row has not two columns, no number or a video that has a row already, or
            there are none or more than a million; the message names file and line.
        OSError: the file cannot be read.
    """
    starts: dict[str, float] = {}
    with open_text(path) as stream:
        for line, row in csv_rows(stream, str(path)):
            where = f"{path}:{line}"
            if not row or (line == 1 and row[1:] in (["second"], ["start_second"])):
                continue
            if len(row) != 2:
                raise AnnotationError(f"{where}: {len(row)} columns, expected 2 (video,second)")
            second = parse_cell(finite_float, row[1], where=where, column="column 2 (second)")
            if abs(second) > _LARGEST_START:
                raise AnnotationError(f"{where}: no video begins at second {second:g}")
            if row[0] in starts:
                raise AnnotationError(f"{where}: the video {row[0]!r} has a row already")
            if len(starts) == _MAX_STARTS:
                raise AnnotationError(f"{where}: more than {_MAX_STARTS} videos")
            starts[row[0]] = second
    if not starts:
        raise AnnotationError(f"{path}: no rows of video,second")
    return starts


def read_video_infos(
    path: str | PathLike, *, on_error: OnError = raise_error
) -> dict[str, VideoInfo]:
    """Read ``video_info.csv``.

    Args:
        path: csv whose first line names the columns ``video_id``, ``height``, ``width``, ``fps``
            and ``start_second``, and optionally ``num_frames``, in any order.
        on_error: called with the error of each malformed row, which is left out then; the
            default raises it.

    Returns:
        dict[str, VideoInfo]: by video id.

    Raises:
        AnnotationError: a column is missing, or a value is no number of its kind (see
            ``on_error``).
        OSError: the file cannot be read.
    """
    infos: dict[str, VideoInfo] = {}
    with open_text(path) as stream:
        rows = csv_rows(stream, str(path), on_error=on_error)
        _, header = next(rows, (1, []))
        missing = set(VIDEO_INFO_COLUMNS[:-1]) - set(header)
        if missing:
            on_error(
                AnnotationError(
                    f"{path}:1: no column {', '.join(sorted(missing))}; the first line must read "
                    f"{','.join(VIDEO_INFO_COLUMNS)}"
                )
            )
            return infos
        for line, row in rows:
            where = f"{path}:{line}"
            if not row:
                continue
            try:
                if len(row) != len(header):
                    raise AnnotationError(
                        f"{where}: {len(row)} columns, the first line has {len(header)}"
                    )
                cells = dict(zip(header, row))
                infos[cells["video_id"]] = _video_info(cells, where)
            except AnnotationError as error:
                on_error(error)
    return infos


def write_video_infos(path: str | PathLike, infos: dict[str, VideoInfo]) -> None:
    """Write ``video_info.csv``, sorted by video id.

    Args:
        path: the file to write.
        infos: by video id.
    """
    with open_atomically(path) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(VIDEO_INFO_COLUMNS)
        for video_id, info in sorted(infos.items()):
            frames = "" if info.num_frames is None else info.num_frames
            row = (info.height, info.width, f"{info.fps:.12g}", f"{info.start_second:.12g}", frames)
            writer.writerow((video_id, *row))


def _video_info(cells: dict[str, str], where: str) -> VideoInfo:
    def value(parse, column):
        return parse_cell(parse, cells[column], where=where, column=f"column {column}")

    return VideoInfo(
        height=value(_positive_whole_number, "height"),
        width=value(_positive_whole_number, "width"),
        fps=value(_positive_float, "fps"),
        start_second=value(finite_float, "start_second"),
        num_frames=(
            value(_positive_whole_number, "num_frames") if cells.get("num_frames") else None
        ),
    )


def _positive_whole_number(text: str) -> int:
    number = whole_number(text)
    if number < 1:
        raise ValueError("expected a positive number")
    return number


def _positive_float(text: str) -> float:
    number = finite_float(text)
    if number <= 0:
        raise ValueError("expected a positive number")
    return number


def _filled_lines(path: str | PathLike) -> list[tuple[int, str]]:
    with open_text(path) as stream:
        return [(number, text.strip()) for number, text in enumerate(stream, 1) if text.strip()]
