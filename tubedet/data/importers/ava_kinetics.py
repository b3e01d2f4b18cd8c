"""Read the Kinetics part of AVA-Kinetics: videos are stored as clips that start at some second."""

from __future__ import annotations

import math
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from tubedet.data.annotations.text import AnnotationError
from tubedet.data.video.reader import VIDEO_EXTENSIONS

from .ava_rows import looks_like_ava, read_ava_rows
from .labels import ImportFormat, ImportOptions, Labels
from .mmaction2 import label_names

_CLIP_NAME = re.compile(r"(.+)_(\d{1,6})_(\d{1,6})", re.ASCII)


class _Clip(NamedTuple):
    name: str  # relative to the folder of the videos, without its ending
    start: float  # NaN if nothing tells
    end: float


def read_ava_kinetics(path: Path, options: ImportOptions) -> Labels:
    """Read ``kinetics_train_v1.0.csv`` and the like.

    Rows are ``id,second,x1,y1,x2,y2,action``, or ``id,second`` where nobody is; seconds are those
    of the whole video. Clips lie anywhere below the folder of the videos, as files or as folders
    of frames: ``ID_000012_000022`` is that of the seconds from 12 to 22, which is what releases of
    Kinetics call it. The data set calls a video as its clip is stored. A row belongs to the clip
    with its second, the one that has it most in the middle; rows without a clip are left out and
    counted.

    Args:
        path: the csv.
        options: ``label_map``; ``start_second`` of clips whose names are a bare ``ID``.

    Returns:
        Boxes in fractions of the frame by seconds, and the start of each clip.

    Raises:
        AnnotationError: if a row cannot be used; the message names file and line.
        OSError: if a file cannot be read.
    """
    clips = _find_clips(options.videos, options.start_second)
    used: dict[str, float] = {}
    left_out: dict[str, set[tuple[str, float]]] = defaultdict(set)

    def name_video(video: str, second: float) -> str | None:
        # MMAction2 writes the path of the clip instead of the video's id.
        name, ending = os.path.splitext(os.path.basename(video))
        name = name if ending.lower() in VIDEO_EXTENSIONS else os.path.basename(video)
        if name not in clips:
            left_out[f"moments of videos that are not in {options.videos}"].add((video, second))
            return None
        for clip in clips[name]:
            if math.isnan(clip.start):
                raise _unknown_start(path, clip)
        fitting = [clip for clip in clips[name] if clip.start <= second < clip.end]
        if not fitting:
            left_out["moments outside of the stored clips"].add((video, second))
            return None
        clip = min(fitting, key=lambda clip: abs(clip.start + clip.end - 2 * second))
        used[clip.name] = clip.start
        return clip.name

    labels = read_ava_rows(path, label_names(path, options), name_video)
    labels.start_seconds = used
    for problem, moments in left_out.items():
        labels.remarks[f"{problem}: left out"] += len(moments)
    return labels


AVA_KINETICS = ImportFormat(
    name="ava-kinetics",
    summary="csvs of the Kinetics part of AVA-Kinetics, with --label-map; --videos holds clips "
    "that are called ID_000012_000022, by their first and last second",
    read=read_ava_kinetics,
    sign=lambda path, head: (
        f"the name {path.name} and {sign}"
        if "kinetics" in path.name.lower() and (sign := looks_like_ava(head))
        else ""
    ),
    options=frozenset({"label_map", "start_second"}),
)


def _find_clips(folder: Path, usual_start: float | None) -> dict[str, list[_Clip]]:
    """Clips by the id of their video, and by their own name without folders."""
    names: set[str] = set()
    for parent, folders, files in os.walk(folder):
        stems = [
            s for s, ending in map(os.path.splitext, files) if ending.lower() in VIDEO_EXTENSIONS
        ]
        frame_folders = [name for name in folders if _CLIP_NAME.fullmatch(name)]
        names |= {os.path.join(parent, name) for name in stems + frame_folders}
        folders[:] = set(folders) - set(frame_folders)  # frames are not looked at
    unknown = math.nan if usual_start is None else usual_start
    clips: dict[str, list[_Clip]] = defaultdict(list)
    for name in sorted(os.path.relpath(name, folder) for name in names):
        own = os.path.basename(name)
        found = _CLIP_NAME.fullmatch(own)
        if found is None or int(found[2]) >= int(found[3]):
            clips[own].append(_Clip(name, unknown, math.inf))
        else:
            clip = _Clip(name, float(found[2]), float(found[3]))
            clips[found[1]].append(clip)
            clips[own].append(clip)
    return dict(clips)


def _unknown_start(path: Path, clip: _Clip) -> AnnotationError:
    return AnnotationError(
        f"{path}: the video {clip.name!r} does not say at which second it starts: call it "
        f"{os.path.basename(clip.name)}_000012_000022 if it is that of the seconds from 12 to 22, "
        "or say --start-second 0 if it is the whole video"
    )
