import socket

import pytest
import torch
from detectron2.utils import comm

from tubedet.agreement import AgreedError
from tubedet.engine import process_group
from tubedet.engine.launchers import StartedProcess
from tubedet.engine.process_group import check_address
from tubedet.errors import UserError


def _process(rank=1, world_size=4, local_size=2, launcher="srun"):
    return StartedProcess(launcher, rank, world_size, rank % local_size, local_size, "tcp://a:1")


@pytest.fixture
def joined(monkeypatch):
    """Records what is done to join; the others are at the places of ``others``."""

    class Joined:
        calls: dict = {}
        others: list = [(n % 2, f"node{n // 2}", f"gpu{n % 2}") for n in range(4)]

    monkeypatch.setattr(
        torch.distributed,
        "init_process_group",
        lambda backend, **options: Joined.calls.update(backend=backend, **options),
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda n: Joined.calls.update(gpu=n))
    monkeypatch.setattr(process_group, "_gpu_identity", lambda: "gpu1")
    monkeypatch.setattr(comm, "all_gather", lambda own: Joined.others)
    monkeypatch.setattr(
        comm, "create_local_process_group", lambda n: Joined.calls.update(local_size=n)
    )
    return Joined


@pytest.mark.parametrize("num_gpus, gpu", [(1, 0), (2, 1), (8, 1)])
def test_each_process_takes_a_gpu(num_gpus, gpu, joined, monkeypatch):
    """Of several, that of its number; Slurm may show it one only."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    process_group.check_gpus(_process())
    process_group.join_group(_process(), on_gpu=True)
    assert joined.calls["backend"] == "nccl" and joined.calls["gpu"] == gpu
    assert joined.calls["local_size"] == 2
    assert (joined.calls["rank"], joined.calls["world_size"]) == (1, 4)
    assert joined.calls["init_method"] == "tcp://a:1"


@pytest.mark.parametrize("num_gpus", [0, 1, 8])
def test_on_the_cpu_the_gpus_do_not_matter(num_gpus, joined, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    monkeypatch.setattr(process_group, "_gpu_identity", lambda: pytest.fail("looks for a GPU"))
    joined.calls.pop("gpu", None)
    process_group.join_group(_process(), on_gpu=False)
    assert joined.calls["backend"] == "gloo" and "gpu" not in joined.calls


def test_too_few_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    with pytest.raises(UserError, match="srun has started 4 .* but there are 3 GPUs"):
        process_group.check_gpus(_process(local_size=4))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match="torchrun has started 2 .* but there are 1 GPUs"):
        process_group.check_gpus(_process(launcher="torchrun"))  # which binds none


def test_two_processes_with_one_gpu_are_refused(joined, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    joined.others = [(0, "a", "x"), (1, "a", "y"), (0, "b", "x"), (1, "b", "x")]
    with pytest.raises(AgreedError, match="processes 2 and 3 use the same GPU of b"):
        process_group.join_group(_process(), on_gpu=True)


def test_ranks_across_machines_are_refused(joined):
    joined.others = [(0, "a", None), (0, "b", None), (1, "a", None), (1, "b", None)]
    with pytest.raises(AgreedError, match="process 1 is number 0 on b; .*--distribution=block"):
        process_group.join_group(_process(), on_gpu=False)


def test_an_address_that_is_in_use_is_named():
    with socket.create_server(("", 0)) as taken:
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        process = StartedProcess("srun", 0, 2, 0, 2, url)
        with pytest.raises(UserError, match=f"process 0 of 2 cannot meet the others at {url}"):
            process_group.join_group(process, on_gpu=False)


@pytest.mark.parametrize(
    "url, message",
    [
        ("ftp://x", "'ftp://x'; give tcp://HOST:PORT"),
        ("tcp://127.0.0.1:99999", "give tcp://HOST:PORT"),
        ("tcp://127.0.0.1:x", "give tcp://HOST:PORT"),
        ("tcp://nohost.invalid:29500", "finds no host nohost.invalid"),
    ],
)
def test_places_where_nobody_can_meet(url, message):
    with pytest.raises(UserError, match=message):
        check_address(url)


@pytest.mark.parametrize("url", ["tcp://127.0.0.1:29500", "tcp://[::1]:29500", "env://"])
def test_places_where_processes_can_meet(url):
    check_address(url)
