"""Starting commands, killing them at a chosen place, and finding what lives on."""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FILE_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")


class FileOperations:
    """Counts what a run does to files, and kills the process that does it for the n-th time.

    Args:
        kill_at: number of the operation before which to kill, from 1; None: only count.
    """

    def __init__(self, kill_at: int | None = None):
        self._kill_at = kill_at
        self._shared = mmap.mmap(-1, 8)  # with the processes of the run

    @property
    def count(self) -> int:
        """Operations so far, of all processes that were forked."""
        return struct.unpack("q", self._shared[:])[0]

    def watch(self, folder: Path) -> None:
        """Count from now on, in this process and those that it forks; it cannot be taken back.

        Args:
            folder: what happens to files elsewhere does not count.
        """
        prefix = os.path.realpath(folder) + os.sep

        def hook(event: str, arguments: tuple) -> None:
            if event not in _FILE_EVENTS or not isinstance(arguments[0], (str, os.PathLike)):
                return
            if not os.path.abspath(os.fspath(arguments[0])).startswith(prefix):
                return
            if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
            number = self.count + 1
            self._shared[:] = struct.pack("q", number)
            if number == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)


class Run:
    """A command in a session of its own.

    Args:
        arguments: of ``tubedet``.
        folder: current folder; temporary files go there, too, and the output to ``log.txt``.
        operations: counts; only with a warm start.
        is_fresh: start a new interpreter, as a user does. Otherwise this one, which has imported
            everything, is forked, and so are the processes of the run: many times faster.
    """

    def __init__(
        self,
        arguments: list[str],
        folder: Path,
        *,
        operations: FileOperations | None = None,
        is_fresh: bool = False,
    ):
        self.folder = folder
        self.begin = time.monotonic()
        self.status: int | None = None
        self._lock = threading.Lock()
        (folder / "tmp").mkdir(exist_ok=True)
        self.log = folder / "log.txt"
        variables = {"TMPDIR": str(folder / "tmp"), "CUDA_VISIBLE_DEVICES": ""}
        with open(self.log, "a") as log:
            if is_fresh:
                self.pid = subprocess.Popen(
                    [sys.executable, "-c", _FRESH, *arguments],
                    cwd=folder,
                    env={**os.environ, "PYTHONPATH": _import_path(), **variables},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                ).pid
            else:
                self.pid = os.fork()
                if self.pid == 0:
                    _run_forked(arguments, folder, log.fileno(), variables, operations)

    def poll(self) -> int | None:
        """Exit status, minus the signal that ended it; None while it goes on."""
        with self._lock:
            if self.status is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self, seconds: float = 600) -> int:
        """Wait for the end; kills it when it takes too long.

        Args:
            seconds: how long at most.
        """
        while self.poll() is None:
            if time.monotonic() - self.begin > seconds:
                self.kill("all")
            time.sleep(0.005)
        assert self.status is not None
        return self.status

    def kill(self, victim: str) -> bool:
        """End processes by SIGKILL; False if there was none.

        Args:
            victim: "main", "all", or "rank 0" and the like, the children in the order of start.
        """
        if self.poll() is not None:
            return False
        ranks = [pid for pid, parent in self.living().items() if parent == self.pid]
        pids = {"main": [self.pid], "all": [self.pid, *ranks]}.get(victim)
        if pids is None:
            pids = sorted(ranks)[int(victim.split()[1]) :][:1]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def seconds_until_ended(self, limit: float = 60) -> float:
        """How long processes of the run live on, those that are started for cleaning left out."""
        begin = time.monotonic()
        while self.living() and time.monotonic() - begin < limit:
            self.poll()
            time.sleep(0.01)
        seconds = time.monotonic() - begin
        for pid in self.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return seconds

    def living(self) -> dict[int, int]:
        """Processes of the session, with their parents."""
        found = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z" and int(fields[3]) == self.pid and not _is_tracker(name):
                    found[int(name)] = int(fields[1])
        return found


_FRESH = "import sys; from tubedet.cli.running import main; main(sys.argv[1:])"


def _import_path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _is_tracker(pid: str) -> bool:
    return "resource_tracker" in Path(f"/proc/{pid}/cmdline").read_text()


def _run_forked(
    arguments: list[str],
    folder: Path,
    log: int,
    variables: dict[str, str],
    operations: FileOperations | None,
) -> None:
    """Be the command, and end."""
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        os.environ.update(variables)
        for stream in (1, 2):
            os.dup2(log, stream)
        sys.stdout, sys.stderr = (open(stream, "w", closefd=False) for stream in (1, 2))
        if operations is not None:
            operations.watch(folder)
        with _forked_processes():
            from tubedet.cli.running import run_command

            status = run_command(arguments[0], arguments[1:])
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@contextlib.contextmanager
def _forked_processes() -> Iterator[None]:
    """Let commands fork their processes instead of starting interpreters."""
    import tempfile

    from tubedet.engine import launching
    from tubedet.inference import many_videos

    tempfile.tempdir = None  # TMPDIR has changed
    for module, name in ((launching, "start_processes"), (many_videos, "run_worker_processes")):
        original: Callable = getattr(module, name)
        setattr(module, name, functools.partial(original, start_method="fork"))
    yield
