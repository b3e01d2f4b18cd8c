"""The process group of a run, whoever has started its processes."""

from __future__ import annotations

import re
import socket

import torch
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm

from tubedet.agreement import AgreedError
from tubedet.errors import UserError

from .launchers import StartedProcess


def check_gpus(process: StartedProcess) -> None:
    """Refuse more processes of a machine than GPUs.

    Args:
        process: place of this process. A launcher that binds GPUs to processes shows one to each.

    Raises:
        UserError: if there are fewer GPUs.
    """
    num_gpus = torch.cuda.device_count()
    is_bound = num_gpus == 1 and process.launcher != "torchrun"
    if process.local_size > num_gpus and not is_bound:
        raise UserError(
            f"{process.launcher} has started {process.local_size} processes on this machine, but "
            f"there are {num_gpus} GPUs"
        )


def check_address(url: str, *, given_by: str = "--dist-url") -> None:
    """Refuse a place where processes can never meet; otherwise they would wait for each other.

    Args:
        url: where they meet.
        given_by: who says so.

    Raises:
        UserError: if it is no ``tcp://HOST:PORT``, ``env://`` or ``file://``, or there is no such
            host.
    """
    if re.match(r"env://|file://", url):
        return
    match = re.fullmatch(r"tcp://(.+):(\d+)", url)
    if match is None or not 0 < int(match[2]) < 65536:
        raise UserError(f"{given_by} is {url!r}; give tcp://HOST:PORT")
    try:
        socket.getaddrinfo(match[1].strip("[]"), int(match[2]))
    except OSError as error:
        raise UserError(
            f"{given_by} is {url!r}, but this machine finds no host {match[1]} ({error.strerror})"
        ) from error


def join_group(process: StartedProcess, *, on_gpu: bool) -> None:
    """Join the other processes, and take a GPU, as detectron2's ``launch`` does.

    That one goes by the GPUs of the machine: with any, its processes join over NCCL, also those of
    a model on the CPU.

    Args:
        process: place of this process.
        on_gpu: use one GPU for each process and NCCL; False: gloo, whatever GPUs there are.

    Raises:
        UserError: if the processes cannot meet.
        AgreedError: in every process, if ranks do not count machine by machine, or two processes
            have the same GPU.
    """
    if on_gpu:
        # A launcher may show each process a GPU of its own only.
        torch.cuda.set_device(process.local_rank if torch.cuda.device_count() > 1 else 0)
    try:
        torch.distributed.init_process_group(
            "nccl" if on_gpu else "gloo",
            init_method=process.url,
            rank=process.rank,
            world_size=process.world_size,
            timeout=DEFAULT_TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:  # DistError among them
        raise UserError(
            f"process {process.rank} of {process.world_size} cannot meet the others at "
            f"{process.url}: {error}; MASTER_ADDR and MASTER_PORT, or --dist-url, give another "
            "address"
        ) from error
    _check_places(process, _gpu_identity() if on_gpu else None)
    comm.create_local_process_group(process.local_size)
    comm.synchronize()


def _check_places(process: StartedProcess, gpu: str | None) -> None:
    """Make sure that ranks and GPUs are those that detectron2 takes for granted."""
    machine = socket.gethostname()
    places = comm.all_gather((process.local_rank, machine, gpu))
    for rank, (local_rank, host, _) in enumerate(places):
        if local_rank != rank % process.local_size:
            raise AgreedError(
                f"process {rank} is number {local_rank} on {host}; ranks must count machine by "
                "machine, as with srun --distribution=block or mpirun --map-by slot"
            )
    gpus = [(host, gpu) for _, host, gpu in places if gpu is not None]
    for rank, place in enumerate(gpus):
        if gpus.index(place) != rank:
            raise AgreedError(
                f"processes {gpus.index(place)} and {rank} use the same GPU of {place[0]}; start "
                "one process for each GPU, as with srun --gpus-per-task=1"
            )


def _gpu_identity() -> str:
    return str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
