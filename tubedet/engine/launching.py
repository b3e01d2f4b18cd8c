"""The processes of a run on one or many devices."""

from __future__ import annotations

import argparse
import contextlib
import gc
import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Iterator

import torch
from torch.multiprocessing import ProcessExitedException, start_processes

from tubedet.agreement import AgreedError
from tubedet.errors import USER_ERRORS, UserError
from tubedet.parent_process import end_with_parent, told_to_started
from tubedet.third_party_warnings import silence_third_party_warnings

from .launchers import StartedProcess, started_process
from .process_group import check_address, check_gpus, join_group


def launch_processes(main: Callable, args: argparse.Namespace, device: str) -> None:
    """Run ``main(args)`` in ``args.num_gpus`` processes: one per GPU, or on the CPU over gloo.

    Processes that torchrun, srun or mpirun has started join each other instead, and each runs
    ``main``.

    Args:
        main: function of a module.
        args: what it is called with; also says how many processes there are.
        device: ``MODEL.DEVICE``. On "cpu" the GPUs of the machine do not matter.

    Raises:
        UserError, OSError, FFmpegError: as ``main`` raises them, whatever the number of processes,
            those of :func:`check_processes`, and if one of several processes is killed.
        ProcessRaisedException: if one of several processes ends with any other exception; the
            message has its traceback.
    """
    check_processes(args, device)
    if (process := started_process(args.dist_url)) is not None:
        _run_started(main, args, process, on_gpu=_is_gpu(device))
    elif args.num_gpus * args.num_machines == 1:
        main(args)
    else:
        _spawn(main, args, on_gpu=_is_gpu(device))


def check_processes(args: argparse.Namespace, device: str) -> None:
    """Refuse processes that cannot be started here, or cannot meet.

    Args:
        args: with detectron2's options for processes.
        device: ``MODEL.DEVICE``.

    Raises:
        UserError: if there are fewer GPUs than asked for, machines have no address to meet, a
            launcher has started processes and the options ask for further ones, or its environment
            variables are not whole, see :func:`~tubedet.engine.launchers.started_process`.
    """
    process = started_process(args.dist_url)
    is_alone = process is None and args.num_gpus * args.num_machines == 1
    if _is_gpu(device) and not is_alone and torch.device(device).index is not None:
        raise UserError(f"MODEL.DEVICE is {device}; several processes need MODEL.DEVICE cuda")
    if process is not None:
        if args.num_gpus != 1 or args.num_machines != 1:
            raise UserError(
                f"{process.launcher} has started {process.world_size} processes already; leave out "
                f"--num-gpus and --num-machines, or start the tool without {process.launcher}"
            )
        by_launcher = args.dist_url == "auto"
        given_by = "MASTER_ADDR and MASTER_PORT" if by_launcher else "--dist-url"
        check_address(process.url, given_by=given_by)
        if _is_gpu(device):
            check_gpus(process)
        return
    _check_machines(args)
    if _is_gpu(device) and args.num_gpus > torch.cuda.device_count():
        raise UserError(
            f"--num-gpus {args.num_gpus}, but there are {torch.cuda.device_count()} GPUs"
        )


def _check_machines(args: argparse.Namespace) -> None:
    number, rank, url = args.num_machines, args.machine_rank, args.dist_url
    if not 0 <= rank < number:
        raise UserError(
            f"--machine-rank is {rank}; with --num-machines {number} it "
            + (f"is a number from 0 to {number - 1}" if number > 1 else "is 0")
        )
    if number > 1 and url == "auto":
        raise UserError(
            f"--num-machines {number} needs --dist-url tcp://HOST:PORT, the same on all machines: "
            "the first machine and a free port of it"
        )
    if url != "auto":
        check_address(url)


def _is_gpu(device: str) -> bool:
    return torch.device(device).type == "cuda"


def _run_started(
    main: Callable, args: argparse.Namespace, process: StartedProcess, *, on_gpu: bool
) -> None:
    places = {
        "num_gpus": process.local_size,
        "num_machines": process.world_size // process.local_size,
        "machine_rank": process.rank // process.local_size,
    }
    message = None
    try:
        join_group(process, on_gpu=on_gpu)
        main(argparse.Namespace(**{**vars(args), **places}))
    except AgreedError as error:
        message = str(error)
    _leave_group()
    if message is None:
        return
    if process.rank:  # the main process prints it
        sys.exit(2)
    raise AgreedError(message)


def _spawn(main: Callable, args: argparse.Namespace, *, on_gpu: bool) -> None:
    url = args.dist_url
    if url == "auto":
        with socket.create_server(("127.0.0.1", 0)) as free:
            url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    user_errors = multiprocessing.get_context("spawn").SimpleQueue()
    try:
        with told_to_started(), contextlib.nullcontext() if on_gpu else _hidden_gpus():
            start_processes(
                _run_spawned,
                args=(main, args, url, on_gpu, user_errors, os.getpid()),
                nprocs=args.num_gpus,
            )
    except ProcessExitedException as error:
        if not user_errors.empty():
            raise user_errors.get() from None
        end = f"by signal {error.signal_name}" if error.signal_name else f"with {error.exit_code}"
        raise UserError(
            f"process {error.error_index} of this machine ended {end}, and so did the others"
        ) from None
    except BaseException:  # an interrupt of this process may not have reached the others
        for process in multiprocessing.active_children():
            process.terminate()
            process.join()
        raise


@contextlib.contextmanager
def _hidden_gpus() -> Iterator[None]:
    """Start processes that see no GPU, and so take no memory of one."""
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    os.environ[name] = ""
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _run_spawned(
    local_rank: int,
    main: Callable,
    args: argparse.Namespace,
    url: str,
    on_gpu: bool,
    user_errors: multiprocessing.SimpleQueue,
    parent: int,
) -> None:
    """Join the others and run ``main``, in a process that :func:`_spawn` has started."""
    end_with_parent(parent)
    # That of this process goes to its children otherwise: loader workers would import all anew,
    # which costs most of a minute for each loader, and those of torchrun do not.
    multiprocessing.set_start_method(None, force=True)
    silence_third_party_warnings()
    process = StartedProcess(
        launcher="--num-gpus",
        rank=args.machine_rank * args.num_gpus + local_rank,
        world_size=args.num_machines * args.num_gpus,
        local_rank=local_rank,
        local_size=args.num_gpus,
        url=url,
    )
    status, others_leave = 0, True
    try:
        join_group(process, on_gpu=on_gpu)
        main(args)
    except USER_ERRORS as error:
        user_errors.put(error)
        status, others_leave = 2, isinstance(error, AgreedError)
    if others_leave:
        _leave_group()
    sys.exit(status)


def _leave_group() -> None:
    """Leave before the interpreter ends, which threads of gloo abort now and then.

    The frames of an error must be gone: a model in them keeps the group.
    """
    gc.collect()
    torch.distributed.destroy_process_group()
