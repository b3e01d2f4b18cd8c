"""Read csvs in the form of AVA with a ``label_map.txt``, as MMAction2 uses them."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from tubedet.data.annotations.text import AnnotationError
from tubedet.data.video.reader import VIDEO_EXTENSIONS

from .ava_rows import looks_like_ava, read_ava_rows
from .label_names import read_label_names
from .labels import ImportFormat, ImportOptions, Labels


def read_mmaction2(path: Path, options: ImportOptions) -> Labels:
    """Read the csv.

    Args:
        path: rows of ``video,second,x1,y1,x2,y2,action[,person]``, see :func:`.read_ava_rows`.
        options: ``label_map``, else a ``label_map.txt`` beside the csv; ``start_second`` of all
            videos; ``first_frame``, if the csv has numbers of frames instead of seconds, as that of
            MultiSports.

    Returns:
        Boxes in fractions of the frame by seconds or frames.

    Raises:
        AnnotationError: if a row cannot be used; the message names file and line.
        OSError: if a file cannot be read.
    """
    if options.start_second is not None and options.first_frame is not None:
        raise AnnotationError(
            f"{path}: --start-second is for seconds, --first-frame for numbers of frames: give one"
        )
    stored: dict[str, str] = {}
    by_name: dict[str, str] = {}

    def name_video(video: str, _time: float) -> str:
        if video not in stored:
            stored[video] = _stored_name(video, options.videos)
            other = by_name.setdefault(stored[video], video)
            if other != video:
                raise AnnotationError(
                    f"{path}: {other!r} and {video!r} would be the same video {stored[video]!r}"
                )
        return stored[video]

    names = label_names(path, options)
    labels = read_ava_rows(path, names, name_video, first_frame=options.first_frame)
    changed = sum(video != name for video, name in stored.items())
    if changed:
        labels.remarks["names of videos without their folders or endings"] += changed
    if options.start_second is not None:
        labels.start_seconds = dict.fromkeys(stored.values(), options.start_second)
    return labels


def label_names(path: Path, options: ImportOptions) -> dict[int, str]:
    """Return the actions by their numbers.

    Args:
        path: of the csv.
        options: ``label_map``.

    Raises:
        AnnotationError: if there is no file of names, or it breaks its format.
        OSError: if it cannot be read.
    """
    label_map = options.label_map or path.with_name("label_map.txt")
    if options.label_map is None and not label_map.is_file():
        raise AnnotationError(
            f"{path}: the csv has numbers of actions: say which file has their names, "
            "--label-map FILE (lines such as 1: walk, or a pbtxt)"
        )
    return read_label_names(label_map)


def _sign(path: Path, head: str) -> str:
    return "" if "kinetics" in path.name.lower() else looks_like_ava(head)


MMACTION2 = ImportFormat(
    name="mmaction2",
    summary="csvs in the form of AVA, as MMAction2 uses them: video,second,x1,y1,x2,y2,action"
    "[,person], with --label-map; a csv with numbers of frames, as MultiSports has it, needs "
    "--first-frame, and videos that begin at another second than 0 need --start-second",
    read=read_mmaction2,
    sign=_sign,
    options=frozenset({"label_map", "start_second", "first_frame"}),
)


def _stored_name(video: str, folder: Path) -> str:
    """Turn ``gym.avi`` into ``gym``, and a path on the computer of its maker into the name."""
    stem, ending = os.path.splitext(video)
    name = stem if ending.lower() in VIDEO_EXTENSIONS else video
    if os.path.isabs(name):
        try:
            return str(PurePosixPath(name).relative_to(folder.resolve()))
        except ValueError:
            return os.path.basename(name)
    return name
