"""The formats of person boxes, and guessing which one a file has."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path

from tubedet.data.annotations.text import AnnotationError, is_number
from tubedet.errors import UserError

from . import coco_json, json_lines, mot_tracks, proposal_pickle
from .csv_files import (
    GROUNDTRUTH,
    PREDICTIONS,
    SLOWFAST,
    csv_kind,
    read_groundtruth_csv,
    read_prediction_csv,
    read_slowfast_csv,
)
from .table import PersonBoxes

_HEAD_BYTES = 1 << 16
_MAX_BYTES = 4 << 30
#: Name of each format and what it is.
FORMATS = {
    SLOWFAST: "SlowFast's predicted boxes: video,second,x1,y1,x2,y2,label,score; empty labels",
    PREDICTIONS: "predictions in the form of AVA: video,second,x1,y1,x2,y2,action,score",
    GROUNDTRUTH: "ground truth in the form of AVA; every score is 1",
    coco_json.NAME: "COCO results or annotations, AlphAction's, and tubedet predict's coco",
    proposal_pickle.NAME: "mmaction2's dense proposals, a pickle of arrays",
    mot_tracks.NAME: "tracks or detections of MOTChallenge about one video",
    json_lines.NAME: "json lines of tubedet predict and demo",
}


def read_person_boxes(
    path: str | os.PathLike,
    format: str = "",
    *,
    images: str | os.PathLike | None = None,
    first_frame: int | None = None,
) -> PersonBoxes:
    """Read boxes of persons from a file of any known format.

    Args:
        path: the file; texts may be gzip-compressed.
        format: one of :data:`FORMATS`; "": found by the content.
        images: json with the ``images`` of COCO results.
        first_frame: number of the first frame, 0 or 1, in formats that count frames.

    Raises:
        AnnotationError: if the format is not recognised or broken; the message names the file and,
            where there is one, the line.
        UserError: if there is no such format.
        OSError: if a file cannot be read.
    """
    path = Path(path)
    if format and format not in FORMATS:
        raise UserError(f"no format {format!r} of person boxes; there are {', '.join(FORMATS)}")
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise AnnotationError(f"{path}: {size:,} bytes, at most {_MAX_BYTES:,} are read; split it")
    name = format or _guess(path)
    readers: dict[str, Callable[[], PersonBoxes]] = {
        SLOWFAST: lambda: read_slowfast_csv(path),
        PREDICTIONS: lambda: read_prediction_csv(path),
        GROUNDTRUTH: lambda: read_groundtruth_csv(path),
        proposal_pickle.NAME: lambda: proposal_pickle.read_proposal_pickle(path),
        mot_tracks.NAME: lambda: mot_tracks.read_mot_boxes(
            path, first_frame=1 if first_frame is None else first_frame
        ),
        json_lines.NAME: lambda: json_lines.read_json_lines(path),
    }
    if name in readers:
        return readers[name]()
    return coco_json.read_coco_boxes(
        path, images=None if images is None else Path(images), first_frame=first_frame
    )


def _guess(path: Path) -> str:
    head = _head(path)
    text = head.decode("utf-8-sig", errors="replace")
    if len(head) == _HEAD_BYTES:
        text = text[: text.rfind("\n") + 1] or text
    start = text.lstrip()[:1]
    if not start:
        raise AnnotationError(f"{path} is empty: there are no person boxes in it")
    if path.suffix.lower() in (".pkl", ".pickle") or head[:1] == b"\x80":
        return proposal_pickle.NAME
    if start == "[":
        return coco_json.NAME
    if start == "{":
        first = text.lstrip().splitlines()[0]
        return json_lines.NAME if '"persons"' in first else coco_json.NAME
    if kind := csv_kind(text):
        return kind
    lines = [line.split(",") for line in text.splitlines()[:20] if line.strip()]
    lines = [cells for cells in lines if not cells[0].lstrip().startswith("#")]
    if lines and all(7 <= len(row) <= 10 and all(map(is_number, row)) for row in lines):
        return mot_tracks.NAME
    raise AnnotationError(
        f"{path}: no known format of person boxes; name it, --boxes-format NAME "
        f"(DATASETS.PROPOSAL_FORMAT): {', '.join(FORMATS)}"
    )


def _head(path: Path) -> bytes:
    with open(path, "rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if head[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as stream:
                return stream.read(_HEAD_BYTES)
        except (OSError, EOFError, zlib.error) as error:
            raise AnnotationError(f"{path}: the gzip file is broken ({error})") from None
    return head
