"""What all processes of a run decide together, so that none waits for one that has given up."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator
from typing import TypeVar

from detectron2.utils import comm

from .errors import USER_ERRORS, UserError, message_of

T = TypeVar("T")
_COMPARED_BYTES = 1 << 20


class AgreedError(UserError):
    """A user error of some process, raised in all of them; the main process prints it for all."""


def of_main_process(value: T) -> T:
    """Return the main process's value in every process.

    Args:
        value: what the main process has found; that of other processes is not used.
    """
    return comm.all_gather(value)[0]


@contextlib.contextmanager
def agreed_errors() -> Iterator[None]:
    """Raise in every process the error that one of them meets within.

    What runs within must not communicate with other processes. With one process, an error stays
    as it is.

    Raises:
        AgreedError: if a process met a user error, or one of another kind, which that process
            itself raises as it is; the message names process and machine unless all met one.
    """
    if comm.get_world_size() == 1:
        yield
        return
    own: Exception | None = None
    try:
        yield
    except Exception as error:
        own = error
    errors = _gather_by_process(None if own is None else _one_line(own))
    if own is not None and not isinstance(own, USER_ERRORS):
        raise own
    failed = [(place, message) for place, message in errors if message is not None]
    if failed:
        place, message = failed[0]
        raise AgreedError(message if len(failed) == len(errors) else f"{message} ({place})")


def check_same_file(path: str, *, advice: str) -> None:
    """Refuse a file that some process cannot read, or reads as another one than the main process.

    A file that the main process cannot read is left to whoever loads it.

    Args:
        path: of the file.
        advice: end of the message: what the user must see to.

    Raises:
        AgreedError: in every process, if a process has no such file or another one.
    """
    if comm.get_world_size() == 1:
        return
    path = os.path.abspath(path)
    found = _gather_by_process((path, _fingerprint(path)))
    main_place, (_, expected) = found[0]
    if isinstance(expected, OSError):
        return
    for place, (path, fingerprint) in found:
        if isinstance(fingerprint, FileNotFoundError):
            raise AgreedError(f"{path} is not there ({place}); {advice}")
        if isinstance(fingerprint, OSError):
            raise AgreedError(f"{message_of(fingerprint)} ({place}); {advice}")
        if fingerprint != expected:
            raise AgreedError(
                f"{path} is not the same file in all processes ({place}, and {main_place}); "
                f"{advice}"
            )


def check_same_value(value: object, *, what: str, advice: str) -> None:
    """Refuse values that must be the same in all processes and are not.

    Args:
        value: of this process; small, and with a text that shows it.
        what: it is, for the message.
        advice: end of the message: what the user must see to.

    Raises:
        AgreedError: in every process, if they differ.
    """
    found = _gather_by_process(value)
    main_place, expected = found[0]
    for place, other in found:
        if other != expected:
            raise AgreedError(f"{what}: {expected} ({main_place}), but {other} ({place}); {advice}")


def _gather_by_process(value: T) -> list[tuple[str, T]]:
    """Return every process's place, for messages, and value."""
    place = f"process {comm.get_rank()} on {socket.gethostname()}"
    return comm.all_gather((place, value))


def _one_line(error: Exception) -> str:
    if isinstance(error, USER_ERRORS):
        return message_of(error)
    return f"{type(error).__name__}: {message_of(error)}"


def _fingerprint(path: str) -> tuple[int, str] | OSError:
    """Size and hash of the end, where checkpoints have the checksums of all tensors."""
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - _COMPARED_BYTES))
            return size, hashlib.sha256(stream.read()).hexdigest()
    except OSError as error:
        return error
