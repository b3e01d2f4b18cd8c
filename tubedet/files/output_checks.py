"""Telling before long work whether its results can be written."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from .atomic_writing import is_written_directly


def check_can_write(path: Path) -> None:
    """Make sure that a file or folder can be made; missing folders above it will be made, too.

    Nothing stays on the disk. Devices and pipes are left to whoever writes to them.

    Args:
        path: of the file or folder to come.

    Raises:
        OSError: if something above it is a file, or takes no new files.
    """
    if is_written_directly(path):
        return
    folder = path if path.is_dir() else path.absolute().parent
    while not os.path.lexists(folder):
        folder = folder.parent
    if not folder.is_dir():
        reason = f"cannot be written, as {folder} is a file, not a folder"
        raise NotADirectoryError(errno.ENOTDIR, reason, os.fspath(path))
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = f"cannot be written, as {folder} takes no files: {error.strerror}"
        raise type(error)(error.errno, reason, os.fspath(path)) from error
