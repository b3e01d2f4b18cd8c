import argparse
import atexit
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
from detectron2.utils import comm
from torch.multiprocessing import ProcessRaisedException

from tubedet.engine import launching
from tubedet.errors import UserError

FORK = multiprocessing.get_context("fork")
_TWO_PROCESSES = {"num_gpus": 2, "num_machines": 1, "machine_rank": 0, "dist_url": "auto"}


@pytest.mark.parametrize("is_orphan", [False, True])
def test_a_process_whose_parent_has_ended_does_nothing(is_orphan):
    """As it is when a run is killed while its processes are starting."""
    done = FORK.Queue()
    parent = os.getpid() + is_orphan
    process = FORK.Process(
        target=launching._run_until_parent_ends, args=(done.put, "started", None, parent)
    )
    process.start()
    process.join()
    assert process.exitcode == is_orphan
    assert done.empty() if is_orphan else done.get(timeout=120) == "started"


def test_too_many_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match="--num-gpus 3, but there are 2 GPUs"):
        launching.launch_processes(print, argparse.Namespace(num_gpus=3, num_machines=1))


def _raise_user_error(args):
    raise UserError(args.message)


def test_a_user_error_of_a_process_is_raised_as_it_is(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    args = argparse.Namespace(**_TWO_PROCESSES, message="no such key")
    with pytest.raises(UserError, match="^no such key$"):
        launching.launch_processes(_raise_user_error, args)


def test_any_other_error_of_a_process_keeps_its_traceback(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    args = argparse.Namespace(**_TWO_PROCESSES)
    with pytest.raises(ProcessRaisedException, match="Traceback(.|\n)*has no len"):
        launching.launch_processes(len, args)


def test_an_interrupt_of_the_parent_ends_the_processes(monkeypatch):
    sleeper = FORK.Process(target=time.sleep, args=(600,))

    def interrupted(*args, **kwargs):
        sleeper.start()
        raise KeyboardInterrupt

    monkeypatch.setattr(launching, "launch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launching.launch_processes(print, argparse.Namespace(**_TWO_PROCESSES))
    assert sleeper.exitcode == -signal.SIGTERM


def _record_group_at_exit(args):
    file = Path(args.folder, str(comm.get_rank()))
    atexit.register(lambda: file.write_text(str(torch.distributed.is_initialized())))


def test_processes_leave_their_group_before_the_interpreter_ends(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    args = argparse.Namespace(**_TWO_PROCESSES, folder=str(tmp_path))
    launching.launch_processes(_record_group_at_exit, args)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "0": "False",
        "1": "False",
    }
