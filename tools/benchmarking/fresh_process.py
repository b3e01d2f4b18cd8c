"""Objects in processes of their own, so that nothing else is in the memory they are measured by."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

from tubedet.errors import UserError

_SECONDS_TO_END = 5
# Errors that tell the user what to do differently; they arrive as they are.
_INPUT_ERRORS = (OSError, ValueError, KeyError)


class MeasurementError(UserError):
    """A measured process ended early; what it printed says why."""


class FreshProcess:
    """Builds an object in a new process and calls its methods there, one after the other.

    Between two calls the process sleeps, so that several of them can take turns: what disturbs the
    machine then disturbs all alike. Use it in a ``with`` block, which ends the process.

    Args:
        build: Makes the object; a function or class at the top of a module.
        *args: What ``build`` is called with; pickled.
        threads: Of PyTorch in that process.

    Raises:
        OSError, ValueError, KeyError: ``build`` or a method raised it.
        MeasurementError: Something else went wrong in the process, which printed the traceback.
    """

    def __init__(self, build: Callable[..., Any], *args, threads: int = 1):
        context = multiprocessing.get_context("spawn")
        self._connection, remote = context.Pipe()
        self._process = context.Process(target=_serve, args=(remote, build, args, threads))
        self._process.start()
        remote.close()
        try:
            self._receive()
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> FreshProcess:
        return self

    def __exit__(self, *error) -> None:
        self._end()

    def call(self, method: str, *args) -> Any:
        """Call a method of the object and wait for what it returns.

        Args:
            method: Its name.
            *args: Its arguments; pickled, like the result.

        Returns:
            What the method returned.

        Raises:
            OSError, ValueError, KeyError, MeasurementError: See the class.
        """
        self._connection.send((method, args))
        return self._receive()

    def _receive(self) -> Any:
        try:
            error, result = self._connection.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            raise MeasurementError(
                f"the measured process ended with exit status {code}"
                + (" (was the memory enough?)" if code == -signal.SIGKILL else "")
            ) from None
        if error is not None:
            raise error
        return result

    def _end(self) -> None:
        self._connection.close()
        self._process.join(_SECONDS_TO_END)
        self._process.terminate()  # if it is in the middle of a long call
        self._process.join()


def _serve(connection: Connection, build: Callable, args: tuple, threads: int) -> None:
    """Build the object in the process, then answer calls until nobody is there."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    torch.set_num_threads(threads)
    error, measured = _attempt(build, args)
    connection.send((error, None))
    while True:
        try:
            method, args = connection.recv()
        except EOFError:
            return
        connection.send(_attempt(getattr(measured, method), args))


def _attempt(function: Callable, args: tuple) -> tuple[Exception | None, Any]:
    """Call a function; return what it raised, as the parent shall raise it, and its result."""
    try:
        return None, function(*args)
    except _INPUT_ERRORS as error:
        return error, None
    except Exception as error:
        traceback.print_exc()
        return MeasurementError(f"{type(error).__name__} in the measured process"), None
