"""Lists of videos, and the loop in which processes share the work on them."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from urllib.parse import urlsplit

from tubedet.errors import UserError
from tubedet.files.full_disks import NO_SPACE
from tubedet.files.urls import is_url

from .device_faults import BrokenDeviceError
from .result_folder import ResultFolder

logger = logging.getLogger(__name__)

_RESERVED_NAMES = ("failed.json", "run.json")
# Suffixes, and what tells attempts apart, follow a name; file systems allow 255 bytes.
_MAX_NAME_BYTES = 220
# A full disk is no fault of the video: every other one would fail as well.
_NO_SPACE = (*NO_SPACE, errno.EROFS)


@dataclass(frozen=True)
class VideoJob:
    """A video of a list.

    Attributes:
        name: of its results; no other video of the list has it, upper and lower case being equal.
        source: absolute path of a video file or of a folder of frames, or a URL.
        fps: frames per second of a folder of frames; None: 30, and for all else its own.
    """

    name: str
    source: str
    fps: float | None = None


def read_video_list(path: str | PathLike) -> list[VideoJob]:
    """Read a text file that names one video per line.

    Empty lines and lines that begin with # are left out, and so is a video that is named again.
    Paths are relative to the folder of the list. A video is named by its file name without the
    suffix; where several share that, the name of the folder comes before it, and then the suffix
    behind it: ``clip``, ``camera1_clip``, ``camera1_clip.avi``. What exceeds 220 bytes is cut.

    Args:
        path: of the list, UTF-8.

    Returns:
        list[VideoJob]: in the order of the list. Whether the videos exist is not looked at.

    Raises:
        OSError: if the list cannot be read.
        UserError: if it names no video, is no text, or two names cannot be told apart.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is no text file in UTF-8: expected a list with a video per line; for a video "
            f"itself there is tubedet demo {path}"
        ) from error
    entries = [line.strip() for line in lines]
    folder = os.path.abspath(Path(path).parent)
    sources = [
        entry if is_url(entry) else os.path.normpath(os.path.join(folder, entry))
        for entry in entries
        if entry and not entry.startswith("#")
    ]
    sources = list(dict.fromkeys(sources))
    if not sources:
        raise UserError(f"{path} names no video")
    names = distinct_names(sources)
    for source, name in names.items():
        if name.casefold() in _RESERVED_NAMES:
            raise UserError(f"{source}: {name} is a file of the results; rename the video")
    return [VideoJob(names[source], source) for source in sources]


def process_videos(
    jobs: Sequence[VideoJob],
    results: ResultFolder,
    process: Callable[[VideoJob, Path], dict],
    *,
    progress: Callable[[], None] = lambda: None,
    poll_seconds: float = 1.0,
) -> None:
    """Work on the unclaimed videos, one after another, until all of them are settled.

    Also waits for the videos of other processes: if one of those ends before its time, its video
    is done here, after those that have ended no process. A video that cannot be processed is noted
    with the reason, and the others go on.

    Args:
        jobs: the same for all processes.
        results: where results are looked for and published.
        process: writes the results of a video into an empty folder, and returns what is kept as
            the record of the result.
        progress: called after each video, while waiting, and when all are settled.
        poll_seconds: how often to look for the results of others.

    Raises:
        OSError: if the disk is full.
        BrokenDeviceError: as ``process`` raises it; the video is left to other processes, unless it
            has ended too many of them.
    """
    open_jobs = list(jobs)
    while True:
        deaths = results.num_deaths()
        for job in sorted(open_jobs, key=lambda job: deaths.get(job.name, 0)):
            with results.claim(job.name) as folder:
                if folder is not None:
                    try:
                        reason = process_one(job, results, process, folder)
                    except BrokenDeviceError:
                        results.note_death(job.name)
                        raise
                    if reason is not None:
                        results.fail(job.name, reason)
                    progress()
        settled = results.settled_names()
        open_jobs = [job for job in open_jobs if job.name not in settled]
        progress()
        if not open_jobs:
            return
        time.sleep(poll_seconds)


def process_one(
    job: VideoJob,
    results: ResultFolder,
    process: Callable[[VideoJob, Path], dict],
    folder: Path,
) -> str | None:
    """Make the result of a video and publish it.

    Args:
        job: the video.
        results: where the result is published.
        process: see :func:`process_videos`.
        folder: an empty one of ``results``.

    Returns:
        why there is no result; None if there is.

    Raises:
        OSError: if the disk is full.
        BrokenDeviceError: as ``process`` raises it.
    """
    try:
        results.publish(job.name, folder, process(job, folder))
    except BrokenDeviceError:
        raise
    except (OSError, ValueError) as error:  # what readers say of a file, VideoError among them
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            raise
        return str(error)
    except Exception as error:
        logger.exception(f"{job.name} failed")
        return f"{type(error).__name__}: {error}"
    return None


def distinct_names(sources: Sequence[str]) -> dict[str, str]:
    """Names for the results of some videos, see :func:`read_video_list`.

    Args:
        sources: absolute paths and URLs, each once.

    Returns:
        dict[str, str]: source to its name.

    Raises:
        UserError: if two names cannot be told apart.
    """
    names = {source: _name_parts(source)[1] for source in sources}
    for longer in (
        lambda folder, stem, _: f"{folder}_{stem}",
        lambda *parts: "{}_{}{}".format(*parts),
    ):
        for group in _groups_of_one_name(names):
            names.update({source: longer(*_name_parts(source)) for source in group})
    for group in _groups_of_one_name(names):
        raise UserError(
            f"{' and '.join(group)}: both results would be named {names[group[0]]}; rename one of "
            "the files, or put them on lists of their own with folders of their own"
        )
    return {source: _shortened(name) for source, name in names.items()}


def _shortened(name: str) -> str:
    """Return a name that leaves room for suffixes, with a hash where it is cut."""
    content = os.fsencode(name)
    if len(content) <= _MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(content).hexdigest()[:16]
    kept = content[: _MAX_NAME_BYTES - len(digest) - 1].decode(errors="ignore")
    return f"{kept}~{digest}"


def _groups_of_one_name(names: dict[str, str]) -> list[list[str]]:
    groups = defaultdict(list)
    for source, name in names.items():
        groups[name.casefold()].append(source)
    return [group for group in groups.values() if len(group) > 1]


def _name_parts(source: str) -> tuple[str, str, str]:
    """Folder, stem and suffix. A result must not be hidden: leading dots are left out."""
    path = Path(urlsplit(source).path if is_url(source) else source)
    suffix = "" if path.is_dir() else path.suffix
    stem = path.name.removesuffix(suffix) if suffix else path.name
    return path.parent.name, stem.lstrip(".") or "video", suffix
