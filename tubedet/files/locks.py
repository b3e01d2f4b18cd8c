"""Named locks between processes that share a folder."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from contextlib import AbstractContextManager
from os import PathLike


class FileLocks(AbstractContextManager):
    """Locks by name, all of them in one small file.

    The operating system holds them (POSIX record locks, which NFS carries too), so a lock ends with
    its process, however that one ends: nothing stale is left behind by SIGKILL.

    A process opens each lock file once at a time, because closing it gives all its locks back.
    Locks are between processes; within one process the same name can be taken again.

    Example::

        with FileLocks("output/.claims.lock") as locks:
            if locks.acquire("film"):
                ...
                locks.release("film")

    Args:
        path: the lock file; it is made if there is none, and stays empty.

    Raises:
        OSError: if it cannot be opened for writing.
    """

    def __init__(self, path: str | PathLike):
        self.path = os.fspath(path)
        self._file = open(self.path, "a+b")

    def acquire(self, name: str, *, shared: bool = False, wait: bool = False) -> bool:
        """Take a lock, or changes a held one between shared and exclusive in one step.

        Args:
            name: any text.
            shared: whether other processes may hold it at the same time, shared as well.
            wait: whether to wait until it is free.

        Returns:
            bool: whether the lock is held now; False only without ``wait``.

        Raises:
            OSError: if the file system has no locks.
        """
        kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.lockf(self._file, kind, 1, _position(name))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise OSError(
                error.errno, f"the file system offers no locks ({error.strerror})", self.path
            ) from error
        return True

    def release(self, name: str) -> None:
        """Give a lock back."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _position(name))

    def close(self) -> None:
        """Give all locks back."""
        self._file.close()

    def __exit__(self, *exc_info) -> None:
        self.close()


def _position(name: str) -> int:
    # A name is a byte of the file, far behind its end. 56 bits: two names never share one.
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
