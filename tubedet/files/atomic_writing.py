"""Writing files and folders whole or not at all.

What is written goes to a temporary file in the same folder, which takes the final name at the end.
Whoever reads the final name finds the old content or the new one, never half of it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO, overload

from .full_disks import full_disk_told

_TOKEN_BYTES = 8
_MAX_NAME_BYTES = 255  # of a file, on all common file systems
_DESCRIPTOR_FOLDERS = ("/dev", "/dev/fd", "/proc/self/fd")


@overload
def open_atomically(
    path: str | PathLike, mode: Literal["w"] = "w"
) -> contextlib.AbstractContextManager[TextIO]: ...


@overload
def open_atomically(
    path: str | PathLike, mode: Literal["wb"]
) -> contextlib.AbstractContextManager[BinaryIO]: ...


@contextlib.contextmanager
def open_atomically(path, mode="w"):
    """Open a file for writing that appears when the ``with`` block ends.

    If the block raises, nothing is left of it and whatever was at ``path`` stays. See
    :class:`PartialFile` for the details.

    Args:
        path: the file to write; its folder must exist.
        mode: "w" for text in UTF-8 with line ends as written, "wb" for bytes.

    Yields:
        the open file.

    Raises:
        OSError: if the file cannot be written.
    """
    text: dict[str, Any] = {} if mode == "wb" else {"encoding": "utf-8", "newline": ""}
    with _completed(PartialFile(path, keep_suffix=False)) as partial:
        with open(partial, mode, **text) as stream:
            yield stream


def write_json(content: Mapping, path: str | PathLike) -> None:
    """Write a json file as :func:`open_atomically` does.

    Args:
        content: the object; its numbers must be finite.
        path: the file to write; its folder must exist.

    Raises:
        ValueError: if a number is not finite.
        OSError: if the file cannot be written.
    """
    with open_atomically(path) as stream:
        json.dump(content, stream, indent=1, allow_nan=False)
        stream.write("\n")


@contextlib.contextmanager
def atomic_path(path: str | PathLike) -> Iterator[Path]:
    """Give code that wants a path one to write to; the file appears when the block ends.

    If the block raises, nothing is left of it and whatever was at ``path`` stays. See
    :class:`PartialFile` for the details.

    Args:
        path: the file to write; its folder must exist.

    Yields:
        Path: an empty file with the suffix of ``path``, to be overwritten in the block. A writer
        that puts another file in its place, as safetensors does, gives up its lock.

    Raises:
        OSError: if the file cannot be written.
    """
    with _completed(PartialFile(path)) as partial:
        yield partial


@contextlib.contextmanager
def atomic_folder(path: str | PathLike) -> Iterator[Path]:
    """Give a folder to fill; it appears as ``path`` when the block ends.

    If the block raises, nothing is left of it. Unlike a file, what is in the folder is not forced
    to the disk, so it may be incomplete after a power failure.

    Args:
        path: the folder to make; the folder around it must exist. It may exist if it is empty.

    Yields:
        Path: an empty folder.

    Raises:
        OSError: if the folder cannot be made.
    """
    with _completed(PartialFolder(path)) as partial:
        yield partial


class PartialFile:
    """A file that is written under a temporary name until it is complete.

    The temporary file is hidden, in the same folder, and only of this writer: many threads,
    processes and machines may write the same file, and the last one to complete wins. Content is
    on the disk before the file takes its name, so a power failure leaves the old content or the
    new one.

    The file gets the permissions of the file that it replaces, or those of any new file. If
    ``path`` is a symbolic link, the file that it leads to is replaced and the link stays. Devices
    and pipes, such as ``/dev/stdout``, are written to directly.

    The temporary file of a writer that was killed is removed by the next one that writes the same
    file. The file system tells which one that is by its locks (``flock``); on one without locks
    they stay.

    :func:`open_atomically` and :func:`atomic_path` fit most uses. This class is for objects that
    write longer than one block.

    Attributes:
        path: where to write: an existing, empty file.
        final_path: as it was given.
    """

    def __init__(self, path: str | PathLike, *, keep_suffix: bool = True):
        """Make the temporary file.

        Args:
            path: the final file; its folder must exist.
            keep_suffix: whether the temporary file ends as the final one does, for writers that
                look at it. Otherwise nobody who looks for files of that kind finds it.

        Raises:
            OSError: if there is no such folder, it cannot be written to, or ``path`` is a folder.
        """
        self.path = self.final_path = Path(path)
        self._lock: int | None = None
        self._target: Path | None = None
        if is_written_directly(path):
            return
        self._check(path)
        target = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
        self._prefix, self._suffix = _name_parts(target, keep_suffix=keep_suffix)
        self._remove_leftovers(target.parent)
        try:
            self._create(target.parent)
            self._choose_mode(target)
        except OSError as error:
            self._release()
            with contextlib.suppress(OSError):
                self._remove(self.path)
            error.filename = os.fspath(path)
            raise
        self._target = target

    def complete(self) -> None:
        """Give the file its name.

        Raises:
            OSError: if its content cannot be stored or its name cannot be taken; call
                :meth:`discard` then.
        """
        if self._target is None:
            return
        self._store()
        os.replace(self.path, self._target)
        self._release()

    def discard(self) -> None:
        """Remove the temporary file; after :meth:`complete` nothing happens."""
        if self._target is not None:
            self._remove(self.path)
            self._release()

    def _check(self, path: str | PathLike) -> None:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))

    def _create(self, folder: Path) -> None:
        while True:
            token = secrets.token_hex(_TOKEN_BYTES)
            self.path = folder / f"{self._prefix}{token}{self._suffix}"
            self._make(self.path)
            # Another writer may take it for a leftover before it is locked. Then it is gone.
            with contextlib.suppress(FileNotFoundError):
                self._lock = self._open_for_lock(self.path)
                with contextlib.suppress(OSError):  # a file system without locks
                    fcntl.flock(self._lock, fcntl.LOCK_EX)
                if self.path.exists():
                    break
                self._release()

    def _choose_mode(self, target: Path) -> None:
        """Take the permissions of the old file, so that nobody reads the new one early."""
        self._mode = _mode_of(target if target.exists() else self.path)
        _change_mode(self.path, self._mode | stat.S_IRUSR | stat.S_IWUSR)

    def _make(self, path: Path) -> None:
        path.touch(exist_ok=False)

    def _open_for_lock(self, path: Path) -> int:
        return os.open(path, os.O_RDWR)  # NFS locks nothing that is open for reading alone

    def _store(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _change_mode(self.path, self._mode)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _remove_leftovers(self, folder: Path) -> None:
        token = f"[0-9a-f]{{{2 * _TOKEN_BYTES}}}"
        pattern = re.compile(f"{re.escape(self._prefix)}{token}{re.escape(self._suffix)}")
        try:
            names = [name for name in os.listdir(folder) if pattern.fullmatch(name)]
        except OSError:  # making the file will tell, unless the folder is only closed to readers
            return
        for name in names:
            # It is in use, of another user, gone, or on a file system without locks.
            with contextlib.suppress(OSError):
                lock = self._open_for_lock(folder / name)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._remove(folder / name)
                finally:
                    os.close(lock)


class PartialFolder(PartialFile):
    """A folder that is filled under a temporary name, see :func:`atomic_folder`."""

    def _check(self, path: str | PathLike) -> None:
        if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(path))

    def _choose_mode(self, target: Path) -> None:
        pass

    def _make(self, path: Path) -> None:
        path.mkdir()

    def _open_for_lock(self, path: Path) -> int:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def _store(self) -> None:
        pass

    def _remove(self, path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)


@contextlib.contextmanager
def _completed(partial: PartialFile) -> Iterator[Path]:
    try:
        with full_disk_told(partial.final_path):
            yield partial.path
            partial.complete()
    finally:
        partial.discard()


def is_written_directly(path: str | PathLike) -> bool:
    """Tell whether a path is no place for a file: a device, a pipe, an open file of the process.

    Args:
        path: to write to.
    """
    if os.path.dirname(os.path.abspath(path)) in _DESCRIPTOR_FOLDERS:
        return True
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def _change_mode(path: Path, mode: int) -> None:
    # File systems without permissions refuse even what changes nothing in effect.
    if _mode_of(path) != mode:
        path.chmod(mode)


def _name_parts(target: Path, *, keep_suffix: bool) -> tuple[str, str]:
    """Return what comes before and after the token in a temporary name."""
    suffix = target.suffix if keep_suffix else ""
    stem, suffix = target.name.removesuffix(suffix), f".partial{suffix}"
    room = _MAX_NAME_BYTES - len(os.fsencode(suffix)) - 2 * _TOKEN_BYTES - len("..")
    while stem and len(os.fsencode(stem)) > room:
        stem = stem[:-1]
    return f".{stem}.", suffix
