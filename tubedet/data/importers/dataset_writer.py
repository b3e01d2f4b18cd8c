"""Writing custom data sets: the csv and its yaml."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from tubedet.data.annotations.text import AnnotationError
from tubedet.data.datasets.input_files import check_distinct
from tubedet.files.atomic_writing import open_atomically


class PersonBox(NamedTuple):
    """One person with one action in one stored frame.

    Attributes:
        video_id: name of the video file without its ending, or of its folder of frames.
        frame_number: from 1.
        box: x1, y1, x2, y2 in pixels.
        action_id: from 1.
        person_id: the same in all frames of the video.
    """

    video_id: str
    frame_number: int
    box: tuple[float, float, float, float]
    action_id: int
    person_id: int


def write_custom_dataset(
    path: str | os.PathLike,
    boxes: Collection[PersonBox],
    *,
    inputs: Collection[str | os.PathLike],
    empty_frames: Collection[tuple[str, int]] = (),
    classes: Sequence[str],
    videos: str | os.PathLike,
    fps: float,
    exclusive: bool,
    overwrite: bool = False,
) -> None:
    """Write a data set which :func:`tubedet.data.datasets.custom.ensure_registered` reads.

    Everything is checked and put together before a file is opened.

    Args:
        path: the yaml; the csv stands beside it under the same name.
        boxes: the annotation, in any order.
        inputs: the files it was read from; they are never replaced.
        empty_frames: (video id, frame number) of the frames which were looked at and hold nobody;
            those that have a box are left out.
        classes: A names; the first one has id 1.
        videos: folder of the videos; the yaml names it relative to itself.
        fps: frames per second.
        exclusive: every person does exactly one action.
        overwrite: replace existing files.

    Raises:
        AnnotationError: the data set would be useless, or the path is none for it.
        FileExistsError: a file exists already.
    """
    path = Path(path)
    csv_path = path.with_suffix(".csv")
    _check_targets((path, csv_path), inputs, overwrite=overwrite)
    if not (math.isfinite(fps) and fps > 0):
        raise AnnotationError(f"--fps {fps:g}: expected a positive number, as 25")
    if not os.path.isdir(videos):
        raise AnnotationError(f"--videos {videos}: there is no such folder")
    if not boxes:
        raise AnnotationError(
            f"{', '.join(map(str, inputs))}: no box of a person with an action: nothing to write"
        )
    content = {
        "videos": os.path.relpath(videos, path.parent),
        "annotations": csv_path.name,
        "classes": list(classes),
        "fps": fps,
        "exclusive": exclusive,
        "boxes": "pixels",
        "timestamps": "frames",
    }
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    try:
        encoded_csv, encoded_yaml = _csv_text(boxes, empty_frames).encode(), text.encode()
    except UnicodeEncodeError as error:
        raise AnnotationError(f"{path}: a name is no text in UTF-8: {error}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    # The csv takes its name first: a yaml always has its csv.
    with open_atomically(path, "wb") as yaml_stream, open_atomically(csv_path, "wb") as csv_stream:
        csv_stream.write(encoded_csv)
        yaml_stream.write(encoded_yaml)


def _check_targets(
    targets: Sequence[Path], inputs: Collection[str | os.PathLike], *, overwrite: bool
) -> None:
    if targets[0].suffix.lower() not in (".yaml", ".yml"):
        raise AnnotationError(
            f"--output {targets[0]}: expected a name that ends in .yaml or .yml; the csv gets the "
            "same name with .csv"
        )
    try:
        check_distinct([*map(Path, inputs), *targets])
    except ValueError as error:
        raise AnnotationError(
            f"{error}: the input would be replaced; use another --output"
        ) from None
    for target in targets:
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target} exists already; use --overwrite or another --output")


def _csv_text(boxes: Collection[PersonBox], empty_frames: Collection[tuple[str, int]]) -> str:
    # Of the same frame by action, then person.
    ordered = sorted(boxes, key=lambda b: (b.video_id, b.frame_number, b.action_id, b.person_id))
    rows: list[tuple] = [
        (b.video_id, b.frame_number, *(f"{value:.7g}" for value in b.box), b.action_id, b.person_id)
        for b in ordered
    ]
    rows += set(empty_frames) - {(b.video_id, b.frame_number) for b in boxes}
    rows.sort(key=lambda row: row[:2])
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
