import os

import pytest

from tubedet.engine import check_started_once
from tubedet.engine.launchers import first_host, num_started_processes, started_process
from tubedet.errors import UserError

# What each launcher gives the second of two processes of one machine; the last two lines as seen
# with Open MPI 4.1 and MPICH 4.0, the first of srun with Slurm 22.05.
LAUNCHERS = {
    "torchrun": {
        "RANK": "1",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29501",
    },
    "srun": {
        "SLURM_JOB_ID": "77",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "1",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_STEP_NODELIST": "node7",
    },
    "mpirun": {
        "OMPI_COMM_WORLD_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_RANK": "1",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
        "PMIX_NAMESPACE": "1470103553",
    },
    "mpiexec": {
        "PMI_RANK": "1",
        "PMI_SIZE": "2",
        "MPI_LOCALRANKID": "1",
        "MPI_LOCALNRANKS": "2",
    },
}
ALONE = {
    "torchrun": {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"},
    # A cluster that numbers its machines in this way has started one process on each.
    "numbered machines": {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
    "srun -n 1 in a job of 4 tasks": {
        **LAUNCHERS["srun"],
        "SLURM_PROCID": "0",
        "SLURM_NTASKS": "4",
        "SLURM_STEP_NUM_TASKS": "1",
        "SLURM_STEP_TASKS_PER_NODE": "1",
    },
    "sbatch": {
        "SLURM_JOB_ID": "77",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NTASKS": "8",
        "SLURM_NTASKS_PER_NODE": "4",
        "SLURM_NODELIST": "node[1-2]",
    },
    "sbatch, step numbered": {**LAUNCHERS["srun"], "SLURM_STEP_ID": "4294967291"},
    "salloc": {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "8", "SLURM_NODELIST": "node[1-2]"},
    "salloc, interactive step": {**LAUNCHERS["srun"], "SLURM_STEP_ID": "4294967290"},
}


@pytest.fixture(autouse=True)
def set_variables(monkeypatch):
    """Sets variables; those of the launcher of the tests are not seen."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "PMI", "MPI_", "MASTER_")) or "RANK" in name:
            monkeypatch.delenv(name)
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)

    def set_variables(variables, **changes):
        for name, value in {**variables, **changes}.items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_place_of_a_process_is_found(name, set_variables):
    assert num_started_processes() == 1 and started_process() is None
    set_variables(LAUNCHERS[name])
    assert num_started_processes() == 2
    process = started_process()
    assert (process.launcher, process.rank, process.world_size) == (name, 1, 2)
    assert (process.local_rank, process.local_size) == (1, 2)
    hosts = {"torchrun": "env://", "srun": "tcp://node7:", "mpiexec": "tcp://127.0.0.1:29500"}
    assert process.url.startswith(hosts.get(name, "tcp://127.0.0.1:2"))
    assert started_process("tcp://there:1").url == "tcp://there:1"


@pytest.mark.parametrize("name", LAUNCHERS)
def test_the_same_work_is_not_done_by_all(name, set_variables):
    check_started_once()
    set_variables(LAUNCHERS[name])
    for per_machine in (False, True):
        with pytest.raises(UserError, match=f"^{name} has started 2 processes, and each would"):
            check_started_once(per_machine=per_machine)


@pytest.mark.parametrize("name", ALONE)
def test_a_process_alone_stays_alone(name, set_variables):
    set_variables(ALONE[name])
    assert num_started_processes() == 1 and started_process() is None
    check_started_once()


def test_two_machines_of_slurm(set_variables):
    nodes = {"SLURM_STEP_NODELIST": "node[09-10]", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}
    set_variables(LAUNCHERS["srun"], **nodes, SLURM_STEP_NUM_TASKS="8", SLURM_PROCID="5")
    process = started_process()
    assert (process.rank, process.world_size, process.local_rank, process.local_size) == (
        5,
        8,
        1,
        4,
    )
    host, port = process.url.removeprefix("tcp://").split(":")
    assert host == "node09" and 20000 <= int(port) < 30000
    set_variables({"SLURM_PROCID": "2", "SLURM_LOCALID": "2"})
    assert started_process().url == process.url  # all go to the same place
    set_variables({"SLURM_STEP_ID": "1"})
    assert started_process().url != process.url  # another step of the job does not
    set_variables({"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "5"})
    assert started_process().url == "tcp://10.0.0.1:5"


def test_one_process_on_each_machine_may_share_work(set_variables):
    set_variables(LAUNCHERS["srun"], SLURM_STEP_TASKS_PER_NODE="1(x2)")
    check_started_once(per_machine=True)
    with pytest.raises(UserError, match="srun has started 2"):
        check_started_once()


def test_mpi_on_several_machines_needs_an_address(set_variables):
    alone = {"OMPI_COMM_WORLD_LOCAL_SIZE": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}
    set_variables(LAUNCHERS["mpirun"], **alone)
    with pytest.raises(UserError, match="mpirun has .* on 2 machines; set MASTER_ADDR"):
        started_process()
    assert started_process("tcp://node0:29500").url == "tcp://node0:29500"
    set_variables({"MASTER_ADDR": "node0"})
    assert started_process().url.startswith("tcp://node0:2")


def test_the_closest_launcher_counts(set_variables):
    """Open MPI and torchrun may have been started by srun, once for each machine."""
    set_variables(LAUNCHERS["srun"], SLURM_PROCID="0")
    set_variables(LAUNCHERS["mpirun"])
    assert started_process().launcher == "mpirun"
    set_variables(LAUNCHERS["torchrun"])
    assert started_process().launcher == "torchrun"


@pytest.mark.parametrize(
    "name, changes, message",
    [
        ("torchrun", {"LOCAL_WORLD_SIZE": ""}, "LOCAL_WORLD_SIZE is not set"),
        ("torchrun", {"MASTER_ADDR": ""}, "MASTER_ADDR is not set"),
        ("torchrun", {"WORLD_SIZE": "3"}, "started 2 of 3 processes on this machine"),
        ("srun", {"SLURM_STEP_TASKS_PER_NODE": ""}, "SLURM_STEP_TASKS_PER_NODE is not set, as sr"),
        ("srun", {"SLURM_STEP_TASKS_PER_NODE": "2,1"}, "started 2,1 of 2 processes on this"),
    ],
)
def test_what_cannot_be_joined_is_said(set_variables, name, changes, message):
    set_variables(LAUNCHERS[name])
    assert started_process() is not None
    set_variables(changes)
    with pytest.raises(UserError, match=message):
        started_process()


@pytest.mark.parametrize(
    "hosts, first",
    [
        ("localhost", "localhost"),
        ("a,b", "a"),
        ("node[01-03,07],gpu5", "node01"),
        ("node[7,9]", "node7"),
        ("rack[1-2]n[08-10]-ib,x", "rack1n08-ib"),
        ("gpu5,node[01-03]", "gpu5"),
        ("", ""),
    ],
)
def test_the_first_machine_of_a_list(hosts, first):
    assert first_host(hosts) == first


@pytest.mark.parametrize(
    "launcher, changes, message",
    [
        ("torchrun", {"RANK": "5"}, "RANK is 5 and LOCAL_RANK is 1, but there are 2 processes"),
        ("torchrun", {"LOCAL_RANK": "2"}, "LOCAL_RANK is 2, but there are 2 processes, 2 of them"),
        ("srun", {"SLURM_LOCALID": ""}, "a task of srun, but SLURM_LOCALID is not set"),
    ],
)
def test_places_that_do_not_exist(launcher, changes, message, monkeypatch):
    for name, value in {**LAUNCHERS[launcher], **changes}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        started_process()
