"""The files of visitors: where they lie, for how long, and what a killed page left."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from tubedet.files.locks import FileLocks

logger = logging.getLogger(__name__)

_PREFIX = "tubedet-web-"
_LOCK_FILE = ".lock"
_MIN_BYTES = 16 << 10  # a file system holds a limited number of files
_SPARE_BYTES = 64 << 20
_SILENT_SECONDS = 120  # after which an upload has broken off
_STARTING_SECONDS = 60  # a page that has just begun has no lock yet
_own_folders: set[str] = set()  # locks do not part the pages of one process


class VisitorFiles(AbstractContextManager):
    """A temporary folder for uploads and results, emptied by age and removed at the end.

    What pages left that were killed is removed at the beginning.

    Args:
        keep_seconds: age at which files are deleted.

    Attributes:
        served: folder of what visitors brought and get; files in it are deleted by age.
        work: folder to make results in.
    """

    def __init__(self, *, keep_seconds: float):
        remove_leftovers()
        self._keep_seconds = keep_seconds
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX)
        _own_folders.add(self._folder.name)
        self._locks = FileLocks(Path(self._folder.name, _LOCK_FILE))
        self._locks.acquire("page")
        self.served, self.work = (Path(self._folder.name, name) for name in ("served", "work"))
        self.served.mkdir()
        self.work.mkdir()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visitor-files", daemon=True)
        self._thread.start()

    def num_bytes(self) -> int:
        """Size of all that is served, in bytes; a small file takes room, too."""
        return sum(max(status.st_size, _MIN_BYTES) for _, status in _entries(self.served))

    def disk_bytes(self) -> int:
        """How much an upload may take of the disk, in bytes; some is left to jobs under way."""
        return shutil.disk_usage(self.served).free - _SPARE_BYTES

    def sweep(self) -> None:
        """Delete what is too old. Links are not followed, and a fault at one file stops nothing."""
        now = time.time()
        for path, status in _entries(self.served):
            # A complete upload has a folder of its own; one under way is written again and again.
            is_partial = os.path.dirname(path) == str(self.served) and stat.S_ISREG(status.st_mode)
            seconds = min(self._keep_seconds, _SILENT_SECONDS) if is_partial else self._keep_seconds
            if status.st_ctime > now - seconds:
                continue
            try:
                if stat.S_ISDIR(status.st_mode):
                    if not os.listdir(path):
                        os.rmdir(path)
                else:
                    os.unlink(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                logger.warning(f"{path} cannot be deleted: {error}")

    def _run(self) -> None:
        while not self._is_over.wait(min(60.0, self._keep_seconds)):
            self.sweep()

    def __exit__(self, *exc_info) -> None:
        self._is_over.set()
        self._thread.join()
        # The lock file is removed after them: a page that is killed here leaves nothing that the
        # next one would take for a page that has just begun.
        for folder in (self.served, self.work):
            shutil.rmtree(folder, ignore_errors=True)
        self._locks.close()
        self._folder.cleanup()
        _own_folders.discard(self._folder.name)


def remove_leftovers() -> None:
    """Remove the folders of pages that were killed: those that nobody holds the lock of."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            status = folder.lstat()
            is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
            if is_ours and str(folder) not in _own_folders and _is_left(folder, status.st_ctime):
                shutil.rmtree(folder)
        except FileNotFoundError:  # another page removes it, too
            continue
        except OSError as error:
            logger.warning(f"{folder} of an earlier page cannot be removed: {error}")


def _is_left(folder: Path, since: float) -> bool:
    lock = folder / _LOCK_FILE
    if not lock.is_file():
        return time.time() - since > _STARTING_SECONDS
    with FileLocks(lock) as locks:
        return locks.acquire("page")


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """All that is in a folder, what is inside of folders first, with its own status."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _entries(Path(entry.path))
        try:
            yield entry.path, entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
