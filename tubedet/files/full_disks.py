"""Telling a full disk in one line, whatever a writer makes of it."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from os import PathLike

# What a disk or a quota says that has no room left.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_FEW_BYTES = 1 << 16  # as much as a writer may have been about to write


@contextlib.contextmanager
def full_disk_told(path: str | PathLike) -> Iterator[None]:
    """Raise a full disk as an ``OSError`` that names the folder.

    Writers hide the reason behind errors of their own, as ``torch.save`` does, or say it without
    the place. To be used around the writing, while what was written is still there.

    Args:
        path: the file that is written, or its folder.

    Raises:
        OSError: if a writer in the block found the disk full.
    """
    try:
        yield
    except Exception as error:
        folder = os.fspath(path)
        folder = folder if os.path.isdir(folder) else os.path.dirname(os.path.abspath(folder))
        number = _number_of(error, folder)
        if number is None or getattr(error, "is_told", False):
            raise
        told = OSError(
            number,
            f"the disk is full ({os.strerror(number)}); free some space and start again",
            folder,
        )
        told.is_told = True  # type: ignore[attr-defined]
        raise told from error


@contextlib.contextmanager
def full_disk_told_once(path: str | PathLike) -> Iterator[None]:
    """Do the same where threads write as well, whose errors the caller meets again.

    Args:
        path: see :func:`full_disk_told`.

    Raises:
        OSError: likewise.
    """
    usual = threading.excepthook

    def without_full_disks(arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        if not (isinstance(error, OSError) and error.errno in NO_SPACE):
            usual(arguments)

    threading.excepthook = without_full_disks
    try:
        with full_disk_told(path):
            yield
    finally:
        threading.excepthook = usual


def _number_of(error: BaseException, folder: str) -> int | None:
    """Errno of a full disk; None if the error has another reason."""
    is_unclear = type(error) is RuntimeError  # as PyTorch's writers raise it
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.errno in NO_SPACE:
            return link.errno
        link = link.__cause__ or link.__context__
    if is_unclear:
        with contextlib.suppress(OSError):
            disk = os.statvfs(folder)
            if disk.f_bavail * disk.f_frsize < _FEW_BYTES:
                return errno.ENOSPC
    return None
