"""A folder of results to which many processes add, each result once and whole."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path

from tubedet.errors import UserError
from tubedet.files.atomic_writing import open_atomically, write_json
from tubedet.files.locks import FileLocks

from .result_settings import ACTIONS

RECORD = "video.json"
# A result whose making ended so many processes would end all of them.
MAX_DEATHS = 2
_ABSENT = "(absent)"


class ResultFolder(AbstractContextManager):
    """Results by name, each a folder of its own, made by any number of processes.

    ``PATH/NAME`` is whole if it exists: a result is made in ``PATH/.work`` and takes its name in
    one step. Processes of one machine share the work with :meth:`claim`: while a process makes a
    result it holds a lock on the name, which ends with the process; what a killed process left half
    done is removed by the next one that takes the name. Where somebody else says who makes which
    result, as Ray does on several machines, :meth:`attempt` needs no lock.

    Args:
        path: the folder; it is made if there is none.

    Raises:
        OSError: if it cannot be made or written to.

    Attributes:
        path: the folder.

    Example::

        with ResultFolder("output") as results, results.claim("film") as partial:
            if partial is not None:
                (partial / "film.csv").write_text(...)
                results.publish("film", partial, {"video": "/data/film.mp4"})
    """

    def __init__(self, path: str | PathLike):
        self.path = Path(path)
        self._partial = self.path / ".work" / "partial"
        self._failed = self.path / ".work" / "failed"
        self._deaths = self.path / ".work" / "deaths"
        for folder in (self._partial, self._failed, self._deaths):
            folder.mkdir(parents=True, exist_ok=True)
        self._claims = FileLocks(self.path / ".claims.lock")

    def record(self, name: str) -> dict | None:
        """Return what :meth:`publish` noted with a result; None if there is no such result.

        Raises:
            UserError: if ``PATH/NAME`` exists, but is no result.
        """
        try:
            return json.loads((self.path / name / RECORD).read_text(encoding="utf-8"))
        except FileNotFoundError:
            if os.path.lexists(self.path / name):
                raise UserError(
                    f"{self.path / name} exists already and is no result of a video; "
                    "choose another folder for the results"
                ) from None
            return None

    def failure(self, name: str) -> str | None:
        """Why a result could not be made in this run; None if that did not happen."""
        try:
            return (self._failed / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def is_settled(self, name: str) -> bool:
        """Whether there is a result, or it was tried in vain in this run."""
        return (self.path / name).exists() or (self._failed / name).exists()

    def settled_names(self) -> set[str]:
        """All names for which :meth:`is_settled`, and those of other files of the folder."""
        return {*os.listdir(self.path), *self.failed_names()}

    def failed_names(self) -> set[str]:
        """All names of results that could not be made in this run."""
        return set(os.listdir(self._failed))

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[Path | None]:
        """Make this process the only one that makes a result, for the time of the block.

        Args:
            name: of the result.

        Yields:
            An empty folder to make it in; it is removed afterwards, unless published. None if there
            is nothing to do: another process is at it, or it is settled, or it just failed because
            its making has ended :data:`MAX_DEATHS` processes.
        """
        if not self._claims.acquire(name):
            yield None
            return
        partial = self._partial / name
        try:
            if partial.exists():  # of a process that was killed
                _remove(partial)
                self.note_death(name)
            if self.is_settled(name):
                yield None
                return
            partial.mkdir()
            try:
                yield partial
            finally:
                _remove(partial)
        finally:
            self._claims.release(name)

    @contextlib.contextmanager
    def attempt(self, name: str) -> Iterator[Path]:
        """Give a process a folder of its own to make a result in, whoever else makes it.

        Args:
            name: of the result.

        Yields:
            An empty folder; it is removed afterwards, unless published.
        """
        folder = self._partial / f"{name}.{uuid.uuid4().hex}"
        folder.mkdir()
        try:
            yield folder
        finally:
            _remove(folder)

    def publish(self, name: str, folder: Path, record: Mapping) -> None:
        """Turn a folder into the result, unless there is one.

        Args:
            name: of the result.
            folder: of :meth:`claim` or :meth:`attempt`.
            record: json object that is kept in the result as ``video.json``.

        Raises:
            OSError: if it cannot be written.
        """
        write_json(dict(record), folder / RECORD)
        try:
            folder.rename(self.path / name)
        except OSError as error:
            # A process that was taken for lost was faster; its result is as whole as this one.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or self.record(name) is None:
                raise

    def note_death(self, name: str) -> None:
        """Count a process that ended because of a result; one that ends too many has failed.

        Args:
            name: of the result; it is claimed by this process.
        """
        with open(self._deaths / name, "ab") as stream:
            stream.write(b".")
            number = stream.tell()
        if number >= MAX_DEATHS and not self.is_settled(name):
            self.fail(name, f"{number} processes ended while they worked on it")

    def num_deaths(self) -> dict[str, int]:
        """How many processes each result has ended in this run; without those that ended none."""
        return {path.name: path.stat().st_size for path in self._deaths.iterdir()}

    def note_killed(self) -> None:
        """Count the processes that were killed in the middle of a result, see :meth:`claim`."""
        for partial in self._partial.iterdir():
            with self.claim(partial.name):
                pass

    def fail(self, name: str, reason: str) -> None:
        """Note that a result cannot be made; the next run tries again."""
        with open_atomically(self._failed / name) as stream:
            stream.write(reason)

    def remove_leftovers(self) -> None:
        """Remove what killed processes left half done; work in progress is not touched."""
        for partial in self._partial.iterdir():
            if self._claims.acquire(partial.name):
                _remove(partial)
                self._claims.release(partial.name)

    def close(self) -> None:
        """End the claims of this process."""
        self._claims.close()

    def __exit__(self, *exc_info) -> None:
        self.close()


@contextlib.contextmanager
def run_with_settings(
    path: str | PathLike, settings: Mapping, *, alone: bool = False
) -> Iterator[None]:
    """Let a run add to a folder of results if all of these are made with the same settings.

    The settings are kept in ``PATH/run.json``. Failures of earlier runs are forgotten, unless
    another run is under way, which this one then joins.

    Args:
        path: see :class:`ResultFolder`; no claim may be open in this process at either end.
        settings: json object of numbers, texts, lists and None, whatever changes a result.
        alone: let no other run join this one, which claims nothing.

    Raises:
        UserError: if results with other settings are there or being made, or another run is under
            way and one of both is alone.
        OSError: if the folder cannot be written.
    """
    path, settings = Path(path), json.loads(json.dumps(dict(settings)))
    path.mkdir(parents=True, exist_ok=True)
    with FileLocks(path / ".run.lock") as locks:
        if not locks.acquire("folder", shared=not alone):
            raise UserError(
                f"another run is writing to {path}, and those with --engine ray share their folder "
                "with no other; wait for its end, or choose another folder for the results"
            )
        with ResultFolder(path) as results:
            results.remove_leftovers()
        if locks.acquire("run"):
            for notes in ("failed", "deaths"):
                for note in (path / ".work" / notes).glob("*"):
                    note.unlink()
            if not any(path.glob(f"*/{RECORD}")):
                write_json(settings, path / "run.json")
        locks.acquire("run", shared=True, wait=True)
        check_settings(path, settings)
        try:
            yield
        finally:
            if locks.acquire("run"):
                _remove(path / ".work")


def check_settings(path: Path, settings: Mapping) -> None:
    """Refuse settings other than those with which the results of a folder are made.

    Args:
        path: the folder.
        settings: see :func:`run_with_settings`.

    Raises:
        UserError: if they differ, or nothing says how the results were made.
    """
    settings_now: dict = json.loads(json.dumps(dict(settings)))
    try:
        earlier = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} holds results, but run.json, which says how they were made, is missing; "
            "choose another folder for the results"
        ) from None
    if ACTIONS not in earlier:
        settings_now.pop(ACTIONS, None)
    changed = [
        f"{key}: {earlier.get(key, _ABSENT)} there, {settings_now.get(key, _ABSENT)} now"
        for key in sorted(earlier.keys() | settings_now.keys())
        if earlier.get(key, _ABSENT) != settings_now.get(key, _ABSENT)
    ]
    if changed:
        raise UserError(
            f"{path} holds results of other settings ({'; '.join(changed)}); choose another folder "
            "for the results, or remove that one"
        )


def _remove(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)
