"""What a killed run leaves behind: no process, whatever started it and whatever it was doing."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from tubedet.data.loading import with_single_threaded_workers
from tubedet.parent_process import (
    end_with_parent,
    end_worker_with_parent,
    ended_with_parent_at_start,
    told_to_started,
)

ROOT = Path(__file__).parents[1]
FORK = multiprocessing.get_context("fork")
METHODS = ("fork", "spawn", "forkserver")
LIMIT_SECONDS = 2.0

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks into /proc")

# The child of a program. It works, or stays in the import of tubedet, until somebody ends it.
PROGRAM = """
import importlib.util, multiprocessing, os, sys, time

method, kind, note, path = sys.argv[1:]
if kind == "work":  # of the package, nothing else is needed
    spec = importlib.util.spec_from_file_location("parent_process", path)
    parent_process = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parent_process)


def stay():
    with open(note + ".new", "w") as stream:
        stream.write(str(os.getpid()))
    os.rename(note + ".new", note)
    time.sleep(60)


def work():
    parent_process.end_worker_with_parent()
    stay()


class SlowImport:
    def find_spec(self, name, *_):
        if name == "tubedet.data":
            stay()


if __name__ == "__main__":
    multiprocessing.get_context(method).Process(target=work).start()
    time.sleep(60)
elif kind == "import":
    sys.meta_path.insert(0, SlowImport())
    import tubedet
"""


def _wait_for(path):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return path.read_text()


def _seconds_until_ended(pids):
    """How long these processes live on; one that nobody has waited for has ended, too."""
    begin = time.monotonic()
    while any(map(_lives, pids)) and time.monotonic() < begin + 20:
        time.sleep(0.01)
    return time.monotonic() - begin


def _lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    "method, kind",
    [*((method, "work") for method in METHODS), ("spawn", "import")],
)
def test_a_child_ends_with_a_killed_parent(method, kind, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    source, note = ROOT / "tubedet" / "parent_process.py", tmp_path / "note"
    command = [sys.executable, tmp_path / "program.py", method, kind, note, source]
    program = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        child = int(_wait_for(note))
        assert _lives(child) and child != program.pid
    finally:
        program.kill()
    assert _seconds_until_ended([child]) < LIMIT_SECONDS
    program.wait()


class _EndlessClips:
    """A data set whose items take for ever, so that a worker does not look at its parent."""

    def __init__(self, folder):
        self.folder = folder

    def __len__(self):
        return 2

    def __getitem__(self, index):
        (self.folder / f"{index}.new").write_text(str(os.getpid()))
        (self.folder / f"{index}.new").rename(self.folder / str(index))
        time.sleep(60)


def _read_endlessly(folder):
    for _ in with_single_threaded_workers(DataLoader(_EndlessClips(folder), num_workers=2)):
        raise AssertionError("no item ever comes")


def test_loader_workers_end_with_a_killed_training(tmp_path):
    training = FORK.Process(target=_read_endlessly, args=(tmp_path,))
    training.start()
    try:
        workers = [int(_wait_for(tmp_path / name)) for name in ("0", "1")]
        assert len({training.pid, *workers}) == 3 and all(map(_lives, workers))
    finally:
        os.kill(training.pid, signal.SIGKILL)
    assert _seconds_until_ended(workers) < LIMIT_SECONDS
    training.join()


def test_a_parent_that_ended_before_the_first_import_is_noticed(tmp_path):
    """Then the new process has another parent from the beginning."""
    (tmp_path / "program.py").write_text(
        """
import multiprocessing, os, sys, time
multiprocessing.current_process()._inheriting = True  # as while it is being started

class SlowImport:
    def find_spec(self, name, *_):
        if name == "tubedet.data":
            print("imports", flush=True)
            time.sleep(60)

sys.meta_path.insert(0, SlowImport())
import tubedet
"""
    )
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    command = [sys.executable, tmp_path / "program.py"]
    for starter, is_gone in ((ended.stdout, True), (str(os.getpid()), False)):
        variables = {"PYTHONPATH": str(ROOT), "TUBEDET_STARTED_BY": starter}
        child = subprocess.Popen(command, env={**os.environ, **variables}, stdout=-1)
        begin = time.monotonic()
        if is_gone:
            assert child.wait(20) == 1 and time.monotonic() - begin < 10
        else:
            assert child.stdout.readline() == b"imports\n"
            time.sleep(1)
            assert child.poll() is None
        child.kill()
        child.communicate()


def test_processes_are_told_who_started_them(monkeypatch):
    monkeypatch.setenv("TUBEDET_STARTED_BY", "1")
    with told_to_started():
        assert os.environ["TUBEDET_STARTED_BY"] == str(os.getpid())
    assert os.environ["TUBEDET_STARTED_BY"] == "1"
    with ended_with_parent_at_start():  # this one is not being started
        assert "TUBEDET_STARTED_BY" not in os.environ


@pytest.mark.parametrize("is_orphan", [False, True])
def test_a_process_whose_parent_has_ended_does_nothing(is_orphan):
    """As it is when a run is killed while its processes are starting."""
    process = FORK.Process(target=end_with_parent, args=(os.getpid() + is_orphan,))
    process.start()
    process.join()
    assert process.exitcode == is_orphan


def test_the_main_process_watches_nobody():
    before = multiprocessing.active_children(), len(os.listdir("/proc/self/task"))
    end_worker_with_parent()
    assert (multiprocessing.active_children(), len(os.listdir("/proc/self/task"))) == before
