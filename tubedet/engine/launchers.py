"""Launchers that have started several processes already, told by their environment variables."""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass

from tubedet.errors import UserError

# Steps of Slurm from this number on are no steps of srun: a batch script, an interactive shell ...
_FIRST_RESERVED_STEP = 0xFFFFFFF0
_PORT_OF_TORCH = 29500


@dataclass(frozen=True)
class _Launcher:
    """Environment variables of a launcher; the first one that is set counts.

    Attributes:
        name: for messages.
        rank: number of this process among all.
        local_rank: its number on this machine.
        world_size: number of all processes.
        local_size: number of those on this machine.
        job: what tells jobs of one machine apart.
        hosts: the machines; the first one has the process with rank 0.
    """

    name: str
    rank: tuple[str, ...]
    local_rank: tuple[str, ...]
    world_size: tuple[str, ...]
    local_size: tuple[str, ...]
    job: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


# A launcher starts its processes by means of those below it now and then, never of those above.
_LAUNCHERS = (
    _Launcher(
        "torchrun",
        rank=("RANK",),
        local_rank=("LOCAL_RANK",),
        world_size=("WORLD_SIZE",),
        local_size=("LOCAL_WORLD_SIZE",),
    ),
    _Launcher(
        "mpirun",  # Open MPI
        rank=("OMPI_COMM_WORLD_RANK",),
        local_rank=("OMPI_COMM_WORLD_LOCAL_RANK",),
        world_size=("OMPI_COMM_WORLD_SIZE",),
        local_size=("OMPI_COMM_WORLD_LOCAL_SIZE",),
        job=("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"),
    ),
    _Launcher(
        "mpiexec",  # Hydra: MPICH, Intel MPI, MVAPICH
        rank=("PMI_RANK",),
        local_rank=("MPI_LOCALRANKID",),
        world_size=("PMI_SIZE",),
        local_size=("MPI_LOCALNRANKS",),
    ),
    _Launcher(
        "srun",
        rank=("SLURM_PROCID",),
        local_rank=("SLURM_LOCALID",),
        world_size=("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
        local_size=("SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE"),
        job=("SLURM_JOB_ID",),
        hosts=("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST"),
    ),
)


@dataclass(frozen=True)
class StartedProcess:
    """This process's place among those that a launcher has started.

    Attributes:
        launcher: its name.
        rank: from 0, among all processes.
        world_size: number of all processes.
        local_rank: from 0, on this machine.
        local_size: number of processes on each machine.
        url: where all meet, for ``torch.distributed.init_process_group``.
    """

    launcher: str
    rank: int
    world_size: int
    local_rank: int
    local_size: int
    url: str


def num_started_processes() -> int:
    """How many processes a launcher has started, on all machines; 1 without a launcher."""
    launcher = _find_launcher()
    return 1 if launcher is None else int(_value(launcher.world_size))


def check_started_once(*, per_machine: bool = False) -> None:
    """Refuse to do the same work in every process of a launcher.

    Args:
        per_machine: accept one process on each of several machines, which share the work.

    Raises:
        UserError: if a launcher has started several processes.
    """
    launcher = _find_launcher()
    if launcher is None or (number := num_started_processes()) == 1:
        return
    if per_machine and _num_local(launcher) == 1:
        return
    raise UserError(
        f"{launcher.name} has started {number} processes, and each would do all the work; start "
        f"the tool once{' on a machine' if per_machine else ''}, without {launcher.name}"
    )


def started_process(dist_url: str = "auto") -> StartedProcess | None:
    """Find this process's place among those that a launcher has started.

    Args:
        dist_url: where they meet, instead of where the launcher's variables say; "auto": there.

    Returns:
        the place; None if this process was started alone.

    Raises:
        UserError: if an environment variable is missing that processes need to meet, a number is
            beyond the number of processes, or machines have different numbers of them.
    """
    launcher = _find_launcher()
    if launcher is None or (world_size := num_started_processes()) == 1:
        return None
    if not (text := _value(launcher.local_size)):
        raise UserError(
            f"{launcher.world_size[0]} is {world_size}, but {launcher.local_size[0]} is not set, "
            f"as {launcher.name} would; start the tool with {launcher.name}, or with --num-gpus"
        )
    local_size = _num_local(launcher)
    if local_size is None or world_size % local_size:
        raise UserError(
            f"{launcher.name} has started {text} of {world_size} processes on this machine; every "
            "machine must have as many"
        )
    rank, local_rank = int(_value(launcher.rank)), int(_value(launcher.local_rank))
    if rank >= world_size or local_rank >= local_size:
        raise UserError(
            f"{launcher.rank[0]} is {rank} and {launcher.local_rank[0]} is {local_rank}, but there "
            f"are {world_size} processes, {local_size} of them on this machine"
        )
    return StartedProcess(
        launcher=launcher.name,
        rank=rank,
        world_size=world_size,
        local_rank=local_rank,
        local_size=local_size,
        url=_meeting_url(launcher, world_size // local_size) if dist_url == "auto" else dist_url,
    )


def first_host(hosts: str) -> str:
    """Return the first machine of a list as Slurm writes it.

    Args:
        hosts: such as ``node[01-03,07],gpu5``.
    """
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", hosts)
    assert first is not None  # it matches the empty text, too
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first[0])


def _find_launcher() -> _Launcher | None:
    """Return the launcher that is closest to this process, of those whose variables are whole."""
    for launcher in _LAUNCHERS:
        places = (launcher.rank, launcher.local_rank, launcher.world_size)
        missing = [names[0] for names in places if not _value(names).isdigit()]
        is_srun = launcher.name == "srun"
        if is_srun and not _is_step_of_srun():
            continue
        if not missing:
            return launcher
        if is_srun and _value(launcher.world_size) not in ("", "1"):
            raise UserError(f"this is a task of srun, but {missing[0]} is not set, as srun would")
    return None


def _is_step_of_srun() -> bool:
    """Tell tasks of srun from the script or shell in which srun could be called."""
    step = os.environ.get("SLURM_STEP_ID", "")
    return step.isdigit() and int(step) < _FIRST_RESERVED_STEP


def _num_local(launcher: _Launcher) -> int | None:
    """Count those of each machine; None if they differ. Slurm writes ``4(x2)`` for two machines."""
    match = re.fullmatch(r"(\d+)(?:\(x\d+\))?", _value(launcher.local_size))
    return int(match[1]) if match and int(match[1]) else None


def _meeting_url(launcher: _Launcher, num_machines: int) -> str:
    if launcher.name == "torchrun":  # it has made a meeting place
        for name in ("MASTER_ADDR", "MASTER_PORT"):
            if not os.environ.get(name):
                raise UserError(
                    f"WORLD_SIZE is {num_started_processes()}, but {name} is not set, as torchrun "
                    "would; start the tool with torchrun, or with --num-gpus"
                )
        return "env://"
    host = os.environ.get("MASTER_ADDR") or first_host(_value(launcher.hosts))
    if not host:
        if num_machines > 1:
            raise UserError(
                f"{launcher.name} has started processes on {num_machines} machines; set "
                "MASTER_ADDR to the host name of the first machine for all of them, or give "
                "--dist-url tcp://HOST:PORT"
            )
        host = "127.0.0.1"
    port = os.environ.get("MASTER_PORT") or _port_of_job(launcher)
    return f"tcp://{host}:{port}"


def _port_of_job(launcher: _Launcher) -> int:
    """Return a port on which all processes agree, and jobs that share a machine rarely do."""
    job = _value(launcher.job)
    if not job:
        return _PORT_OF_TORCH
    step = os.environ.get("SLURM_STEP_ID", "")
    return 20000 + zlib.crc32(f"{job}.{step}".encode()) % 10000


def _value(names: tuple[str, ...]) -> str:
    """Return the first variable that is set; an empty text if none is."""
    return next((value for name in names if (value := os.environ.get(name))), "")
