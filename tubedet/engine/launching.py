"""The processes of a run on one or many devices."""

import argparse
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable

import torch
from detectron2.engine import launch
from torch.multiprocessing import ProcessExitedException

from tubedet.errors import USER_ERRORS, UserError
from tubedet.third_party_warnings import silence_third_party_warnings

from .torchrun import check_torchrun, join_processes, num_started_processes


def launch_processes(main: Callable, args: argparse.Namespace) -> None:
    """Run ``main(args)`` in ``args.num_gpus`` processes: one per GPU, or on the CPU over gloo.

    Processes that torchrun has started join each other instead, and each runs ``main``.

    Args:
        main: function of a module.
        args: what it is called with; also says how many processes there are.

    Raises:
        UserError, OSError, FFmpegError: as ``main`` raises them, whatever the number of processes,
            and those of :func:`check_processes`.
        ProcessRaisedException: if one of several processes ends with any other exception; the
            message has its traceback.
    """
    check_processes(args)
    if num_started_processes() > 1:
        main(join_processes(args))
        torch.distributed.destroy_process_group()
        return
    if args.num_gpus * args.num_machines == 1:
        main(args)
        return
    user_errors = multiprocessing.get_context("spawn").SimpleQueue()
    try:
        launch(
            _run_until_parent_ends,
            args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
            args=(main, args, user_errors, os.getpid()),
        )
    except ProcessExitedException:
        if user_errors.empty():
            raise
        raise user_errors.get() from None
    except BaseException:  # an interrupt of this process may not have reached the others
        for process in multiprocessing.active_children():
            process.terminate()
            process.join()
        raise


def check_processes(args: argparse.Namespace) -> None:
    """Refuse numbers of processes that cannot be started here.

    Args:
        args: with ``num_gpus`` and ``num_machines``.

    Raises:
        UserError: if there are fewer GPUs than asked for, or torchrun says something else, see
            :func:`~tubedet.engine.torchrun.check_torchrun`.
    """
    check_torchrun(args)
    if torch.cuda.is_available() and args.num_gpus > torch.cuda.device_count():
        raise UserError(
            f"--num-gpus {args.num_gpus}, but there are {torch.cuda.device_count()} GPUs"
        )


def _run_until_parent_ends(
    main: Callable,
    args: argparse.Namespace,
    user_errors: multiprocessing.SimpleQueue,
    parent: int,
):
    """Run ``main``, and end with the parent, so that a killed run writes no more checkpoints."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
    if os.getppid() != parent:  # it ended while this process was starting
        sys.exit(1)
    silence_third_party_warnings()
    try:
        main(args)
    except USER_ERRORS as error:
        user_errors.put(error)
        sys.exit(2)
    # Threads of gloo that are left to the end of the interpreter abort it now and then.
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
