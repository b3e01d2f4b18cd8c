"""The videos that a command line of the demo names, and where their results go."""

from __future__ import annotations

import argparse
import glob
import os
import re
from pathlib import Path
from typing import NamedTuple

from tubedet.data.datasets.input_files import check_distinct
from tubedet.data.video.frame_names import FRAME_EXTENSIONS
from tubedet.data.video.reader import VIDEO_EXTENSIONS
from tubedet.errors import UserError
from tubedet.files.output_checks import check_can_write
from tubedet.files.urls import is_url
from tubedet.inference import VideoOutputs
from tubedet.inference.video_jobs import distinct_names
from tubedet.inference.writers.video_writer import check_video_suffix

# Options that name files, the fields of VideoOutputs and the suffixes in a folder.
OUTPUTS = {
    "output": ("video", ".mp4"),
    "predictions": ("predictions", ".csv"),
    "json": ("json_lines", ".jsonl"),
    "coco": ("coco", ".json"),
    "events": ("events", ".events.csv"),
}


class Job(NamedTuple):
    """A video and where its results go: path, URL or index of a camera, its name, the files."""

    source: str | int
    name: str
    outputs: VideoOutputs


def split_at_key(words: list[str]) -> tuple[list[str], list[str]]:
    """Part the videos from the first config key on: a word in capitals that is no file.

    Args:
        words: behind the options.
    """
    for index, word in enumerate(words):
        is_key = re.fullmatch(r"[A-Z][A-Z0-9_.]*(=.*)?", word)
        if is_key and not word.lower().endswith(VIDEO_EXTENSIONS) and not os.path.exists(word):
            return words[:index], words[index:]
    return words, []


def jobs_of(options: argparse.Namespace) -> list[Job]:
    """Return the videos that the options name, with their outputs.

    Args:
        options: of :func:`tubedet.cli.demo.add_arguments`.

    Raises:
        UserError: if an input names nothing, or a file would be written twice or is an input.
    """
    if options.webcam is not None:
        sources = [options.webcam]
    elif options.video_input is not None:
        sources = [options.video_input]
    else:
        paths = options.input or options.videos
        sources = [source for path in paths for source in _expanded(path)]
    if options.fps is not None and not any(
        isinstance(s, str) and os.path.isdir(s) for s in sources
    ):
        raise UserError("--fps is for folders of frames; videos have a rate of their own")
    names = _names_of(sources)
    jobs = []
    for source, name in zip(sources, names):
        paths = {}
        for option, (field, suffix) in OUTPUTS.items():
            path = getattr(options, option)
            if path is None:
                continue
            is_folder = os.path.isdir(path) or path.endswith(("/", os.sep))
            if len(sources) > 1 and os.path.isfile(path):
                raise UserError(f"--{option} {path} is a file; several inputs need a folder")
            in_folder = len(sources) > 1 or is_folder
            paths[field] = Path(path, name + suffix) if in_folder else Path(path)
        if not paths and not options.show:
            paths["video"] = Path(f"{name}_actions.mp4")
        jobs.append(Job(source, name, VideoOutputs(**paths)))
    files = [path for path in map(_file_of, sources) if path is not None]
    files += [path for job in jobs for path in vars(job.outputs).values() if path is not None]
    check_distinct(files)
    return jobs


def check_outputs(jobs: list[Job]) -> None:
    """Refuse files that cannot be written, before weights are fetched and a model is built.

    Args:
        jobs: the videos.

    Raises:
        UserError: if no video is written with a suffix.
        OSError: if something above a file is a file, or takes no new files.
    """
    folders = set()
    for job in jobs:
        if job.outputs.video is not None:
            check_video_suffix(job.outputs.video)
        for path in vars(job.outputs).values():
            if path is not None and path.parent not in folders:
                check_can_write(path)
                folders.add(path.parent)


def is_missing(job: Job) -> bool:
    """Tell whether a video is a file or folder that does not exist.

    Args:
        job: the video.
    """
    path = _file_of(job.source)
    return path is not None and not path.exists()


def _expanded(path: str) -> list[str]:
    """Return the videos that an argument of --input names."""
    if os.path.isdir(path):
        names = sorted(name for name in os.listdir(path) if not name.startswith("."))
        frames = [n for n in names if n.lower().endswith(FRAME_EXTENSIONS)]
        found = [n for n in names if n.lower().endswith(VIDEO_EXTENSIONS)]
        if frames and found:
            raise UserError(
                f"--input {path}: the folder holds both images ({frames[0]}) and videos "
                f"({found[0]}); name the videos with a pattern, or give --video-input {path} if "
                "the images are the frames of one"
            )
        if frames:
            return [path]
        if not found:
            raise UserError(f"--input {path}: the folder holds neither frames nor videos")
        return [os.path.join(path, name) for name in found]
    if glob.has_magic(path) and not os.path.exists(path) and not is_url(path):
        found = sorted(glob.glob(path, recursive=True))
        if not found:
            raise UserError(f"--input {path}: no file matches the pattern")
        return found
    return [path]


def _names_of(sources: list[str | int]) -> list[str]:
    if isinstance(sources[0], int):
        return [f"camera{sources[0]}"]
    paths = map(str, sources)
    absolute = [path if is_url(path) else os.path.abspath(path) for path in paths]
    names = distinct_names(list(dict.fromkeys(absolute)))
    return [names[path] for path in absolute]


def _file_of(source: str | int) -> Path | None:
    """Return the file or folder that a source is; None for a camera or a URL of elsewhere."""
    if isinstance(source, int):
        return None
    if source.startswith("file:"):
        return Path(source.removeprefix("file:"))  # as FFmpeg reads it
    return None if is_url(source) else Path(source)
