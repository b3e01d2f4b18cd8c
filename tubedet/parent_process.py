"""Processes that end with the one that started them, however that one ends."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import connection

_POLL_SECONDS = 0.25
_STARTED_BY = "TUBEDET_STARTED_BY"


def end_with_parent(parent: int) -> None:
    """Make this process end with its parent, so that a killed run writes nothing more.

    For processes that the main thread of the parent has started: the system counts the end of the
    thread that started a process as the end of the parent.

    Args:
        parent: process id of the one that started this one.
    """
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it ended while this process was starting
        sys.exit(1)


def end_worker_with_parent() -> None:
    """Make a process of :mod:`multiprocessing` end with the one whose work it does.

    Whatever its start method, and whichever thread has started it. A thread waits for the end of
    the parent, which closes a pipe. Does nothing in the main process.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()


@contextlib.contextmanager
def told_to_started() -> Iterator[None]:
    """Tell the processes that are started within a block whose they are, from their first moment.

    The parent may be gone before a new interpreter can ask for it.
    """
    before = os.environ.get(_STARTED_BY)
    os.environ[_STARTED_BY] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ[_STARTED_BY]
        if before is not None:
            os.environ[_STARTED_BY] = before


@contextlib.contextmanager
def ended_with_parent_at_start() -> Iterator[None]:
    """End a process that :mod:`multiprocessing` is starting when its parent ends in this block.

    A new interpreter imports PyTorch and all else before it can be told anything, which takes up to
    a minute on a busy machine. In any other process nothing happens.
    """
    parent, told = os.getppid(), os.environ.pop(_STARTED_BY, None)  # not for its own children
    if not getattr(multiprocessing.current_process(), "_inheriting", False):
        yield
        return
    starter, is_over = int(told or parent), threading.Event()

    def watch() -> None:
        while os.getppid() == parent and _exists(starter):
            if is_over.wait(_POLL_SECONDS):
                return
        os._exit(1)

    watcher = threading.Thread(target=watch, name="end-with-parent", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()  # a fork server must have one thread


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is of another user
        pass
    return True
