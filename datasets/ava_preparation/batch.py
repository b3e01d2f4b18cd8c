"""Doing the same to many videos in parallel, and keeping a record of it beside the results."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from tqdm import tqdm

from tubedet.errors import UserError
from tubedet.files.atomic_writing import write_json

_RECORD_NAME = "preparation.json"


class PreparationError(UserError):
    """A step cannot be done; the message names the file or option at fault and what to do."""


class StepRecord:
    """The json beside the results of a step: how they were made, and what they are.

    Results are added one by one, so an interrupted step knows what is finished. A folder is made
    with one set of settings: other ones, or another version of ffmpeg, are refused.

    Args:
        folder: where the results lie; made if missing.
        settings: what the results depend on; json types.

    Raises:
        PreparationError: the record of the folder has other settings, or is damaged.

    Attributes:
        path: the json file.
        results: figures of the finished results by video id.
    """

    def __init__(self, folder: Path, settings: dict):
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / _RECORD_NAME
        self._settings = settings
        self._lock = Lock()
        self.results: dict[str, dict] = {}
        if self.path.exists():
            stored = read_record(folder)
            if stored["settings"] != settings:
                raise PreparationError(
                    f"{self.path}: {folder} was made with {_listed(stored['settings'])}, "
                    f"asked for is {_listed(settings)}: give the same options and use the "
                    "same ffmpeg (--ffmpeg), or move the folder away to make it anew"
                )
            self.results = stored["results"]

    def add(self, video_id: str, figures: dict) -> None:
        """Note a finished result and saves the record.

        Args:
            video_id: its video.
            figures: what was verified; json types.
        """
        with self._lock:
            self.results[video_id] = figures
            content = {"settings": self._settings, "results": dict(sorted(self.results.items()))}
            write_json(content, self.path)


def read_record(folder: Path) -> dict:
    """Read the record of a folder.

    Args:
        folder: where the results lie.

    Returns:
        dict: ``settings`` and ``results``; both empty if there is no record.

    Raises:
        PreparationError: the record is damaged.
    """
    path = folder / _RECORD_NAME
    if not path.exists():
        return {"settings": {}, "results": {}}
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {"settings": dict(stored["settings"]), "results": dict(stored["results"])}
    except (ValueError, TypeError, KeyError) as error:
        raise PreparationError(
            f"{path}: no record of this program ({error!r}): move it away"
        ) from error


@contextmanager
def sole_user(folder: Path) -> Iterator[None]:
    """Keep a second process out of a folder; the lock ends with the process.

    Args:
        folder: made if missing.

    Raises:
        PreparationError: another process is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise PreparationError(f"another process is writing to {folder} at the moment") from None
    finally:
        os.close(handle)


def for_each(
    items: Iterable[str], work: Callable[[str], None], *, jobs: int, description: str
) -> dict[str, str]:
    """Do something to many videos with a progress bar; a failure stops only its own video.

    Args:
        items: names of the videos.
        work: called with each of them, in several threads.
        jobs: number of threads.
        description: what the progress bar says.

    Returns:
        dict[str, str]: what went wrong, by name.
    """
    items, failures = list(items), {}
    with ThreadPoolExecutor(jobs) as pool:
        tasks = {pool.submit(work, item): item for item in items}
        try:
            for task in tqdm(as_completed(tasks), description, len(tasks), unit="video"):
                try:
                    task.result()
                except (PreparationError, OSError) as error:
                    failures[tasks[task]] = str(error)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failures


def _listed(settings: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
