import argparse

import pytest
import torch

from tubedet.engine import check_processes, check_started_once
from tubedet.engine.torchrun import num_started_processes

_VARIABLES = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
_VARIABLES |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture
def started(monkeypatch):
    """Sets the variables of torchrun."""

    def set_variables(**changes):
        for name, value in {**_VARIABLES, **changes}.items():
            monkeypatch.setenv(name, value)

    return set_variables


def _args(num_gpus=1, num_machines=1):
    return argparse.Namespace(num_gpus=num_gpus, num_machines=num_machines)


def test_processes_are_counted(started, monkeypatch):
    assert num_started_processes() == 1
    started()
    assert num_started_processes() == 2
    # A cluster that numbers its machines in this way has started one process on each.
    monkeypatch.delenv("LOCAL_RANK")
    assert num_started_processes() == 1
    check_started_once()
    check_processes(_args(num_machines=2))


@pytest.mark.parametrize(
    "changes, args, message",
    [
        ({}, _args(num_gpus=2), "started 2 processes already; leave out --num-gpus"),
        ({}, _args(num_machines=2), "started 2 processes already; leave out --num-gpus"),
        ({"LOCAL_WORLD_SIZE": ""}, _args(), "LOCAL_WORLD_SIZE is not set"),
        ({"MASTER_ADDR": ""}, _args(), "MASTER_ADDR is not set"),
        ({"WORLD_SIZE": "3"}, _args(), "started 2 of 3 processes on this machine"),
    ],
)
def test_what_cannot_be_joined_is_said(started, monkeypatch, changes, args, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    started()
    check_processes(_args())
    started(**changes)
    with pytest.raises(ValueError, match=message):
        check_processes(args)


def test_every_process_needs_a_gpu_where_there_are_any(started, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    started()
    with pytest.raises(ValueError, match="2 processes on this machine, but there are 1 GPUs"):
        check_processes(_args())


def test_one_process_of_torchrun_is_as_without_it(started):
    started(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", LOCAL_WORLD_SIZE="1")
    assert num_started_processes() == 1
    check_started_once()
    check_processes(_args(num_gpus=1))
