"""The processes of one machine that share independent work, one per device."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any

import torch

from tubedet.errors import USER_ERRORS, UserError
from tubedet.parent_process import end_with_parent, told_to_started
from tubedet.third_party_warnings import silence_third_party_warnings

from .device_faults import BrokenDeviceError

logger = logging.getLogger(__name__)

# A process is started again after it died, until so many died in a row without any work done.
_MAX_DEATHS_IN_A_ROW = 3
_STARTED, _PROGRESS, _BROKEN, _USER_ERROR, _FAULT = range(5)


def devices_of_processes(device: str, number: int) -> list[str]:
    """Devices of the processes of this machine.

    Args:
        device: ``MODEL.DEVICE``.
        number: of processes.

    Raises:
        UserError: if there are fewer GPUs, or ``device`` is a single one of them.
    """
    if not device.startswith("cuda") or (number == 1 and device != "cuda"):
        return [device] * number
    if device != "cuda":
        raise UserError(f"MODEL.DEVICE {device} is one GPU; give MODEL.DEVICE cuda for {number}")
    if torch.cuda.device_count() == 0:
        raise UserError(f"MODEL.DEVICE is {device}, but there is no GPU; give MODEL.DEVICE cpu")
    if number > torch.cuda.device_count():
        raise UserError(f"--num-gpus {number}, but there are {torch.cuda.device_count()} GPUs")
    return [f"cuda:{index}" for index in range(number)]


class Reports:
    """What a process tells the one that started it.

    Args:
        sender: end of a pipe.
    """

    def __init__(self, sender: connection.Connection):
        self._sender = sender

    def started(self) -> None:
        """Say that the work can begin."""
        self._sender.send((_STARTED, None))

    def progress(self) -> None:
        """Say that a piece of the work is done."""
        self._sender.send((_PROGRESS, None))


def run_worker_processes(
    work: Callable[[int, str, Reports], None],
    devices: Sequence[str],
    *,
    watch: Callable[[], None] = lambda: None,
    after_death: Callable[[], None] = lambda: None,
    start_method: str = "spawn",
    poll_seconds: float = 1.0,
) -> list[str]:
    """Run some work in a process per device until all of them have ended.

    The processes do not talk to each other. One that is killed, or whose device is broken, is
    started again, unless it fails at its start or too often: then the others go on without it. All
    end with this process.

    Args:
        work: called as ``work(number, device, reports)`` in each process.
        devices: one per process.
        watch: called at every event and every ``poll_seconds``.
        after_death: called when a process has died, before it is started again.
        start_method: of :mod:`multiprocessing`.
        poll_seconds: see ``watch``.

    Returns:
        why the processes that were given up ended, a line each.

    Raises:
        UserError, OSError, FFmpegError: as ``work`` raises them in any process.
        RuntimeError: if ``work`` raises anything else; the message has its traceback.
    """
    context = multiprocessing.get_context(start_method)
    workers = [_Worker(context, work, *place) for place in enumerate(devices)]
    try:
        while running := [worker for worker in workers if worker.is_running]:
            ready = connection.wait([w.connection for w in running], timeout=poll_seconds)
            for worker in running:
                if worker.connection in ready and worker.has_died():
                    after_death()
                    worker.start_again()
            watch()
    finally:
        for worker in workers:
            worker.terminate()
    return [worker.reason for worker in workers if worker.reason is not None]


class _Worker:
    """A process and its successors on one device.

    Attributes:
        is_running: whether there is a process.
        connection: on which it reports, and which closes with it.
        reason: why it was given up; None: it was not.
    """

    def __init__(self, context: Any, work: Callable, number: int, device: str):
        self._context, self._work = context, work
        self._number, self._device = number, device
        self._num_deaths_in_a_row = 0
        self.reason: str | None = None
        self._start()

    def _start(self) -> None:
        self.connection, sender = self._context.Pipe(duplex=False)
        self._has_started = False
        self._fault = ""
        self._process = self._context.Process(
            target=_run,
            args=(self._work, self._number, self._device, sender, os.getpid()),
        )
        with told_to_started():
            self._process.start()
        sender.close()
        self.is_running = True

    def has_died(self) -> bool:
        """Take a report. Whether the process has ended before its work is done."""
        try:
            kind, content = self.connection.recv()
        except (EOFError, OSError):  # the end, perhaps in the middle of a report
            return self._has_died_at_its_end()
        if kind == _USER_ERROR:
            raise content
        if kind == _FAULT:
            raise RuntimeError(f"the process of {self._device} failed:\n{content}")
        if kind == _STARTED:
            self._has_started = True
        elif kind == _PROGRESS:
            self._num_deaths_in_a_row = 0
        elif kind == _BROKEN:
            self._fault = content
        return False

    def _has_died_at_its_end(self) -> bool:
        self._process.join()
        self.connection.close()
        self.is_running = False
        return self._process.exitcode != 0

    def start_again(self) -> None:
        """Start a successor of a process that died, or give the device up."""
        status = self._process.exitcode
        ending = f"signal {-status}" if status < 0 else f"status {status}"
        fault = self._fault or f"the process of {self._device} ended with {ending}"
        self._num_deaths_in_a_row += 1
        if self._has_started and self._num_deaths_in_a_row < _MAX_DEATHS_IN_A_ROW:
            logger.error(f"{fault}; another process starts there")
            self._start()
        else:
            self.reason = fault
            logger.error(f"{fault}; nothing more is done there")

    def terminate(self) -> None:
        """End the process."""
        if self.is_running:
            self._process.terminate()
            self._process.join()
            self.is_running = False


def _run(work: Callable, number: int, device: str, sender: Any, parent: int) -> None:
    end_with_parent(parent)
    silence_third_party_warnings()
    try:
        work(number, device, Reports(sender))
    except BrokenDeviceError as error:
        sender.send((_BROKEN, str(error)))
        _exit_now()
    except USER_ERRORS as error:
        sender.send((_USER_ERROR, error))
        sys.exit(2)
    except KeyboardInterrupt:  # the parent has it as well
        sys.exit(1)
    except Exception:
        sender.send((_FAULT, traceback.format_exc()))
        sys.exit(1)


def _exit_now() -> None:
    """End without what a broken device would disturb: freeing its memory can hang or abort."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
