"""Writing data sets of one's own: the csv and its yaml."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml


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


def write_own_data(
    path: str | os.PathLike,
    boxes: Collection[PersonBox],
    *,
    empty_frames: Collection[tuple[str, int]] = (),
    classes: Sequence[str],
    videos: str | os.PathLike,
    fps: float,
    exclusive: bool,
    overwrite: bool = False,
) -> None:
    """Writes a data set which :func:`tubedet.data.own_data.ensure_registered` reads.

    Args:
        path: the yaml; the csv stands beside it under the same name.
        boxes: the annotation, in any order.
        empty_frames: (video id, frame number) of the frames which were looked at and hold nobody.
        classes: A names; the first one has id 1.
        videos: folder of the videos; the yaml names it relative to itself.
        fps: frames per second.
        exclusive: every person does exactly one action.
        overwrite: replace existing files.

    Raises:
        FileExistsError: a file exists already.
    """
    path = Path(path)
    csv_path = path.with_suffix(".csv")
    for file in (path, csv_path):
        if file.exists() and not overwrite:
            raise FileExistsError(f"{file} exists already; use --overwrite or another --output")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        (b.video_id, b.frame_number, *(f"{value:.7g}" for value in b.box), b.action_id, b.person_id)
        for b in boxes
    ]
    with open(csv_path, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(
            sorted([*rows, *empty_frames], key=lambda row: (row[0], row[1], *row[-2:]))
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
    path.write_text(text, encoding="utf-8")
