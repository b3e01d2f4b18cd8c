import multiprocessing
import time

import pytest

from tubedet.files.locks import FileLocks

FORK = multiprocessing.get_context("fork")


def hold(path, name, shared, taken):
    locks = FileLocks(path)
    taken.put(locks.acquire(name, shared=shared))
    time.sleep(600)


@pytest.fixture
def holder(tmp_path):
    """Starts processes that hold a lock until they are killed."""
    processes = []

    def start(name, shared=False):
        taken = FORK.Queue()
        processes.append(FORK.Process(target=hold, args=(tmp_path / "locks", name, shared, taken)))
        processes[-1].start()
        assert taken.get(timeout=120)
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.join()


def test_a_lock_ends_with_its_process(tmp_path, holder):
    process = holder("film")
    with FileLocks(tmp_path / "locks") as locks:
        assert not locks.acquire("film")
        assert locks.acquire("another film")
        process.kill()
        process.join()
        assert locks.acquire("film")
    assert [path.name for path in tmp_path.iterdir()] == ["locks"]
    assert (tmp_path / "locks").stat().st_size == 0


def test_shared_locks(tmp_path, holder):
    process = holder("run", shared=True)
    with FileLocks(tmp_path / "locks") as locks:
        assert locks.acquire("run", shared=True)
        # The lock that could not become exclusive is still held.
        assert not locks.acquire("run")
        process.kill()
        process.join()
        assert locks.acquire("run")
        locks.release("run")
        holder("run")
        assert not locks.acquire("run", shared=True)


def test_waiting(tmp_path, holder):
    process = holder("run")
    with FileLocks(tmp_path / "locks") as locks:
        killer = FORK.Process(target=lambda: (time.sleep(0.3), process.kill()))
        started = time.monotonic()
        killer.start()
        assert locks.acquire("run", wait=True)
        assert time.monotonic() - started > 0.25
        killer.join()
