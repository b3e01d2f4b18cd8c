import argparse
import atexit
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from detectron2.utils import comm
from torch.multiprocessing import ProcessRaisedException

from tubedet.agreement import AgreedError
from tubedet.engine import check_processes, launching
from tubedet.engine.launchers import StartedProcess
from tubedet.errors import UserError

FORK = multiprocessing.get_context("fork")
_TWO_PROCESSES = {"num_gpus": 2, "num_machines": 1, "machine_rank": 0, "dist_url": "auto"}

if "TEST_PRETENDED_GPUS" in os.environ:  # in processes that these tests start
    torch.cuda.is_available = lambda: True
    torch.cuda.device_count = lambda: int(os.environ["TEST_PRETENDED_GPUS"])


def _args(**changes):
    return argparse.Namespace(**{**_TWO_PROCESSES, **changes})


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_gpus": 3}, "--num-gpus 3, but there are 2 GPUs"),
        ({"num_machines": 2}, "--num-machines 2 needs --dist-url tcp://HOST:PORT, the same on all"),
        ({"machine_rank": 1}, "--machine-rank is 1; with --num-machines 1 it is 0"),
        (
            {"num_machines": 3, "machine_rank": 3, "dist_url": "tcp://127.0.0.1:1"},
            "--machine-rank is 3; with --num-machines 3 it is a number from 0 to 2",
        ),
        ({"machine_rank": -1}, "--machine-rank is -1"),
        ({"num_machines": 2, "dist_url": "node0:29500"}, "--dist-url is 'node0:29500'; give tcp:"),
        ({"num_machines": 2, "dist_url": "tcp://node0"}, "--dist-url is 'tcp://node0'; give tcp:"),
        ({"device": "cuda:1"}, "MODEL.DEVICE is cuda:1; several processes need MODEL.DEVICE cuda"),
    ],
)
def test_processes_that_cannot_be_started_are_refused(changes, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_processes(_args(), "cuda")
    check_processes(_args(num_gpus=1), "cuda:1")
    check_processes(_args(num_machines=2, machine_rank=1, dist_url="tcp://[::1]:29500"), "cuda")
    device = changes.pop("device", "cuda")
    with pytest.raises(UserError, match=message):
        launching.launch_processes(print, _args(**changes), device)


@pytest.mark.parametrize("changes", [{"num_gpus": 2}, {"num_machines": 2}])
def test_processes_of_a_launcher_start_no_further_ones(changes, monkeypatch):
    started = StartedProcess("srun", 1, 4, 1, 4, "tcp://127.0.0.1:1")
    monkeypatch.setattr(launching, "started_process", lambda url: started)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_processes(_args(num_gpus=1), "cpu")
    with pytest.raises(UserError, match="srun has started 4 .* but there are 2 GPUs"):
        check_processes(_args(num_gpus=1), "cuda")
    with pytest.raises(UserError, match="srun has started 4 processes already; leave out --num-g"):
        check_processes(_args(**{"num_gpus": 1, **changes}), "cpu")


def _record_group(args):
    found = {
        "backend": torch.distributed.get_backend(),
        "world": [comm.get_rank(), comm.get_world_size()],
        "local": [comm.get_local_rank(), comm.get_local_size()],
        "gpus": [torch.cuda.device_count(), os.environ["CUDA_VISIBLE_DEVICES"]],
    }
    file = Path(args.folder, str(comm.get_rank()))
    file.write_text(json.dumps(found))
    atexit.register(lambda: file.write_text(file.read_text() + _group_left()))


def _group_left():
    return " group left" if not torch.distributed.is_initialized() else ""


@pytest.mark.parametrize("num_gpus", [1, 4])
def test_processes_of_the_cpu_join_over_gloo_whatever_gpus_there_are(
    num_gpus, tmp_path, monkeypatch
):
    """They see none either, and leave their group before the interpreter ends."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    monkeypatch.setenv("TEST_PRETENDED_GPUS", str(num_gpus))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    launching.launch_processes(_record_group, _args(folder=str(tmp_path)), "cpu")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    for rank in (0, 1):
        text = (tmp_path / str(rank)).read_text()
        assert json.loads(text.removesuffix(" group left")) == {
            "backend": "gloo",
            "world": [rank, 2],
            "local": [rank, 2],
            "gpus": [num_gpus, ""],
        }
        assert text.endswith(" group left")


def _raise_user_error(args):
    raise UserError(args.message)


def test_a_user_error_of_a_process_is_raised_as_it_is():
    with pytest.raises(UserError, match="^no such key$"):
        launching.launch_processes(_raise_user_error, _args(message="no such key"), "cpu")


def test_any_other_error_of_a_process_keeps_its_traceback():
    with pytest.raises(ProcessRaisedException, match="Traceback(.|\n)*has no len"):
        launching.launch_processes(len, _args(), "cpu")


def test_an_interrupt_of_the_parent_ends_the_processes(monkeypatch):
    sleeper = FORK.Process(target=time.sleep, args=(600,))

    def interrupted(*args, **kwargs):
        sleeper.start()
        raise KeyboardInterrupt

    monkeypatch.setattr(launching, "start_processes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launching.launch_processes(print, _args(), "cpu")
    assert sleeper.exitcode == -signal.SIGTERM


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_all_is_printed_by_the_main_process(rank, monkeypatch):
    left = []
    started = StartedProcess("srun", rank, 2, rank, 2, "tcp://127.0.0.1:1")
    monkeypatch.setattr(launching, "started_process", lambda url: started)
    monkeypatch.setattr(launching, "join_group", lambda process, on_gpu: None)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: left.append(rank))

    def main(args):
        assert (args.num_gpus, args.num_machines, args.machine_rank) == (2, 1, 0)
        raise AgreedError("for all")

    with pytest.raises(SystemExit if rank else AgreedError) as ended:
        launching.launch_processes(main, _args(num_gpus=1), "cpu")
    assert left == [rank]
    assert not rank or ended.value.code == 2


def _die(args):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_one_line():
    with pytest.raises(UserError, match=r"process [01] of this machine ended by signal SIGKILL"):
        launching.launch_processes(_die, _args(), "cpu")
