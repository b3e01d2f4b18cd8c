"""Writing custom data sets: the csv and its yaml."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

import yaml

from tubedet.data.annotations.text import AnnotationError
from tubedet.data.datasets.input_files import check_distinct
from tubedet.files.atomic_writing import open_atomically

from .labels import Labels
from .selection import Selection, select


def write_custom_dataset(
    path: str | os.PathLike,
    labels: Labels,
    *,
    inputs: Collection[str | os.PathLike],
    videos: str | os.PathLike,
    fps: float,
    classes: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    every: int = 1,
    exclusive: bool = False,
    overwrite: bool = False,
) -> Selection:
    """Write a data set which :func:`tubedet.data.datasets.custom.ensure_registered` reads.

    Everything is checked and put together before a file is opened.

    Args:
        path: the yaml; the csv stands beside it under the same name.
        labels: the annotation.
        inputs: the files it was read from; they are never replaced.
        videos: folder of the videos; the yaml names it relative to itself.
        fps: frames per second.
        classes: see :func:`.select`, as ``ignore`` and ``every``.
        ignore: labels that are no actions.
        every: keep every so many-th of a video's annotated frames.
        exclusive: every person does exactly one action.
        overwrite: replace existing files.

    Returns:
        What was written, with remarks for the user.

    Raises:
        AnnotationError: the data set would be useless, or the path is none for it.
        FileExistsError: a file exists already.
    """
    path = Path(path)
    targets = {".yaml": path, ".csv": path.with_suffix(".csv")}
    starts = _starts(labels)
    if len(set(starts.values())) > 1:
        targets["starts"] = path.with_name(f"{path.stem}_starts.csv")
    _check_targets(path, tuple(targets.values()), inputs, overwrite=overwrite)
    if not (math.isfinite(fps) and fps > 0):
        raise AnnotationError(f"--fps {fps:g}: expected a positive number, as 25")
    if not os.path.isdir(videos):
        raise AnnotationError(f"--videos {videos}: there is no such folder")
    selection = select(labels, classes=classes, ignore=ignore, every=every)
    if not selection.labels.boxes:
        reasons = "".join(f"; {remark}" for remark in selection.remarks)
        raise AnnotationError(
            f"{', '.join(map(str, inputs))}: no box of a person with an action: nothing to "
            f"write{reasons}"
        )
    content = {
        "videos": os.path.relpath(videos, path.parent),
        "annotations": targets[".csv"].name,
        "classes": selection.classes,
        "fps": fps,
        "exclusive": exclusive,
        "boxes": "fractions" if labels.in_fractions else "pixels",
        "timestamps": "seconds" if labels.in_seconds else "frames",
    }
    texts = {targets[".csv"]: _csv_text(_rows(selection))}
    if "starts" in targets:
        content["start_second"] = targets["starts"].name
        texts[targets["starts"]] = _csv_text([(v, f"{s:.10g}") for v, s in starts.items()])
    elif any(starts.values()):
        content["start_second"] = next(iter(starts.values()))
    texts[path] = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    try:
        encoded = {target: text.encode() for target, text in texts.items()}
    except UnicodeEncodeError as error:
        raise AnnotationError(f"{path}: a name is no text in UTF-8: {error}") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    # Files take their names in the reverse order: a yaml always has its csv.
    with ExitStack() as stack:
        for target in reversed(encoded):
            stack.enter_context(open_atomically(target, "wb")).write(encoded[target])
    return selection


def _starts(labels: Labels) -> dict[str, float]:
    """Return the second at which each video begins."""
    videos = {box.video_id for box in labels.boxes} | {video_id for video_id, _ in labels.looked_at}
    return {video_id: labels.start_seconds.get(video_id, 0.0) for video_id in sorted(videos)}


def _check_targets(
    yaml_path: Path,
    targets: Sequence[Path],
    inputs: Collection[str | os.PathLike],
    *,
    overwrite: bool,
) -> None:
    if yaml_path.suffix.lower() not in (".yaml", ".yml"):
        raise AnnotationError(
            f"--output {yaml_path}: expected a name that ends in .yaml or .yml; the csv gets the "
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


def _rows(selection: Selection) -> list[tuple]:
    """Rows of the csv: of the same moment by action, then person."""
    action_ids = {name: number for number, name in enumerate(selection.classes, start=1)}
    keys: dict[tuple, tuple] = {}
    for box in selection.labels.boxes:
        person = -1 if box.person_id is None else box.person_id
        corners = tuple(f"{value:.7g}" for value in box.box)
        for action in box.actions:
            action_id = action_ids[action]
            row = (box.video_id, f"{box.time:.10g}", *corners, action_id)
            order = (box.video_id, box.time, action_id, person, box.box)
            keys[order] = row if box.person_id is None else (*row, person)
    for video_id, time in selection.empty:
        keys[video_id, time, 0] = (video_id, f"{time:.10g}")
    return [keys[order] for order in sorted(keys)]


def _csv_text(rows: Collection[tuple]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
