"""Processes that torchrun has started, instead of detectron2's ``launch``."""

from __future__ import annotations

import argparse
import os

import torch
from detectron2.engine.launch import DEFAULT_TIMEOUT
from detectron2.utils import comm

from tubedet.errors import UserError

# Environment variables that say which process this is, and those that joining needs besides.
_PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
_MEETING = ("LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def num_started_processes() -> int:
    """How many processes torchrun has started, on all machines; 1 without torchrun."""
    if not all(os.environ.get(name, "").isdigit() for name in _PLACE):
        return 1
    return int(os.environ["WORLD_SIZE"])


def check_started_once() -> None:
    """Refuse to do the same work in every process of torchrun.

    Raises:
        UserError: if torchrun has started several processes.
    """
    if (number := num_started_processes()) > 1:
        raise UserError(
            f"torchrun has started {number} processes, and each would do all the work; start the "
            "tool once, without torchrun"
        )


def check_torchrun(args: argparse.Namespace) -> None:
    """Refuse what torchrun and the command line cannot both be right about.

    Args:
        args: with ``num_gpus`` and ``num_machines``.

    Raises:
        UserError: if there are several processes of torchrun, and the arguments ask for further
            ones, there are fewer GPUs, or an environment variable is missing.
    """
    if (number := num_started_processes()) == 1:
        return
    if args.num_gpus != 1 or args.num_machines != 1:
        raise UserError(
            f"torchrun has started {number} processes already; leave out --num-gpus and "
            "--num-machines, or start the tool without torchrun"
        )
    if missing := [name for name in _MEETING if not os.environ.get(name)]:
        raise UserError(
            f"WORLD_SIZE is {number}, but {missing[0]} is not set, as torchrun would; start the "
            "tool with torchrun, or with --num-gpus"
        )
    num_local = int(os.environ["LOCAL_WORLD_SIZE"])
    if torch.cuda.is_available() and num_local > torch.cuda.device_count():
        raise UserError(
            f"torchrun has started {num_local} processes on this machine, but there are "
            f"{torch.cuda.device_count()} GPUs"
        )
    if number % num_local:
        raise UserError(
            f"torchrun has started {num_local} of {number} processes on this machine; every "
            "machine must have as many"
        )


def join_processes(args: argparse.Namespace) -> argparse.Namespace:
    """Join the process group of torchrun, as ``launch`` does in the processes that it starts.

    Args:
        args: those that :func:`check_torchrun` let pass.

    Returns:
        the same arguments, with the numbers of processes and machines that there are.
    """
    num_local = int(os.environ["LOCAL_WORLD_SIZE"])
    has_gpu = torch.cuda.is_available()
    if has_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if has_gpu else "gloo", timeout=DEFAULT_TIMEOUT)
    comm.create_local_process_group(num_local)
    comm.synchronize()
    places = {
        "num_gpus": num_local,
        "num_machines": comm.get_world_size() // num_local,
        "machine_rank": comm.get_rank() // num_local,
    }
    return argparse.Namespace(**{**vars(args), **places})
