"""Many videos on the machines of a Ray cluster: one actor per GPU, one video at a time each."""

from __future__ import annotations

import logging
import re
import socket
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from tubedet.errors import USER_ERRORS, UserError

from .device_faults import BrokenDeviceError
from .result_folder import ResultFolder
from .video_jobs import VideoJob, process_one

logger = logging.getLogger(__name__)

# Of a video. Machines of a cluster come and go, which is no fault of what they work on.
_MAX_TRIES = 3
# An actor is replaced after it died, until so many died in a row without any video done.
_MAX_DEATHS_IN_A_ROW = 3
_QUIET_SECONDS = 60.0
_CONNECTION_SECONDS = 10.0

MakeProcess = Callable[[str], Callable[[VideoJob, Path], dict]]


def process_videos_with_ray(
    jobs: Sequence[VideoJob],
    results: ResultFolder,
    make_process: MakeProcess,
    *,
    use_gpus: bool | None = None,
    max_actors: int | None = None,
    address: str = "auto",
    progress: Callable[[], None] = lambda: None,
    poll_seconds: float = 1.0,
) -> list[str]:
    """Work on the videos that are not settled, in actors of a Ray cluster.

    There is an actor per GPU; without GPUs there is one per machine, with all of its CPU cores, or
    ``max_actors`` that share the cores evenly. Each is given a video at a time. If an actor or its
    machine is lost, Ray places another one where there is room, and the video goes to the back of
    the queue. A video with which three actors were lost has failed.

    Args:
        jobs: the videos.
        results: in a folder that all machines see under the same path. No other run makes results
            there.
        make_process: called with the device in each actor; what it returns writes the results of
            a video into an empty folder and returns what is kept as the record of the result.
            Ray's machines import it by its name, so tubedet is installed on each.
        use_gpus: whether there is an actor per GPU; None: if the cluster has any.
        max_actors: None: as many as there is room for.
        address: of the cluster, see ``ray.init``: "auto" finds the one that was started on this
            machine, "local" starts one.
        progress: called after each video and every ``poll_seconds``.
        poll_seconds: see ``progress``.

    Returns:
        why actors were given up, a line each.

    Raises:
        UserError: if Ray is not installed, there is no cluster or no room in it.
        UserError, OSError, FFmpegError: as ``make_process`` raises them.
    """
    ray = _import_ray()
    try:
        _check_reachable(address)
        ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(
            f"no Ray cluster answers at {address!r}; start one with 'ray start --head', or give "
            f"its --address ({' '.join(str(error).split())})"
        ) from error
    try:
        pool = _ActorPool(ray, results, make_process, _places(ray, use_gpus, max_actors))
        return pool.run(jobs, progress, poll_seconds)
    finally:
        ray.shutdown()


class VideoActor:
    """Processes videos on a device; Ray makes it a process.

    Args:
        path: of the :class:`ResultFolder`.
        make_process: see :func:`process_videos_with_ray`.
        device: that of this process.
        num_threads: of PyTorch on a CPU.
    """

    def __init__(self, path: Path, make_process: MakeProcess, device: str, num_threads: int):
        self._path, self._make_process = path, make_process
        self._device, self._num_threads = device, num_threads
        self._results: ResultFolder | None = None
        self._process: Callable[[VideoJob, Path], dict] | None = None

    def start(self) -> None:
        """Build the model."""
        if self._device == "cpu":
            torch.set_num_threads(self._num_threads)
        self._process = self._make_process(self._device)
        self._results = ResultFolder(self._path)

    def process(self, job: VideoJob) -> str | None:
        """Make the result of a video.

        Args:
            job: the video.

        Returns:
            why there is no result; None if there is.

        Raises:
            OSError, BrokenDeviceError: see :func:`~tubedet.inference.video_jobs.process_one`.
        """
        assert self._results is not None and self._process is not None
        if self._results.record(job.name) is not None:  # by an actor that was taken for lost
            return None
        with self._results.attempt(job.name) as folder:
            return process_one(job, self._results, self._process, folder)


class _ActorPool:
    """Actors, and the videos that wait for them.

    Args:
        ray: the module.
        results: see :func:`process_videos_with_ray`.
        make_process: likewise.
        places: what each actor asks Ray for.
    """

    def __init__(
        self, ray: Any, results: ResultFolder, make_process: MakeProcess, places: list[dict]
    ):
        self._ray = ray
        self._results = results
        self._make_process = make_process
        self._places = places
        self._waiting: deque[VideoJob] = deque()
        self._num_tries: dict[str, int] = {}
        self._actors: dict[int, Any] = {}
        self._deaths_in_a_row = [0] * len(places)
        # Reference of Ray -> number of the actor and its video; None: it starts.
        self._calls: dict[Any, tuple[int, VideoJob | None]] = {}
        self._idle: set[int] = set()
        self._lost: list[str] = []

    def run(
        self, jobs: Sequence[VideoJob], progress: Callable[[], None], poll_seconds: float
    ) -> list[str]:
        """See :func:`process_videos_with_ray`."""
        self._waiting.extend(job for job in jobs if not self._results.is_settled(job.name))
        for number in range(min(len(self._places), len(self._waiting))):
            self._start(number)
        quiet_seconds = 0.0
        while self._is_anything_left():
            ready, _ = self._ray.wait(list(self._calls), timeout=poll_seconds)
            for call in ready:
                self._take(call)
            is_working = bool(ready) or any(job is not None for _, job in self._calls.values())
            quiet_seconds = 0.0 if is_working else quiet_seconds + poll_seconds
            if quiet_seconds >= _QUIET_SECONDS:
                logger.warning("no actor runs; Ray waits for a machine with room ('ray status')")
                quiet_seconds = 0.0
            progress()
        return self._lost

    def _is_anything_left(self) -> bool:
        is_at_work = any(job is not None for _, job in self._calls.values())
        return bool(self._calls) and (is_at_work or bool(self._waiting))

    def _start(self, number: int) -> None:
        place = dict(self._places[number])
        device, num_threads = place.pop("device"), int(place["num_cpus"])
        actor_class = self._ray.remote(**place)(VideoActor)
        actor = actor_class.remote(self._results.path, self._make_process, device, num_threads)
        self._actors[number] = actor
        self._calls[actor.start.remote()] = (number, None)

    def _take(self, call: Any) -> None:
        """Take the answer of an actor, and give it, or one that takes its place, more to do."""
        number, job = self._calls.pop(call)
        try:
            reason = self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, BrokenDeviceError):
                self._replace(number, job, str(error.cause))
                return
            if isinstance(error.cause, USER_ERRORS):
                raise error.cause from None
            raise
        except self._ray.exceptions.RayError as error:
            self._replace(number, job, _cause_of_loss(error))
            return
        if job is not None:
            self._deaths_in_a_row[number] = 0
            if reason is not None:
                self._fail(job, reason)
        self._idle.add(number)
        self._hand_out()

    def _hand_out(self) -> None:
        while self._idle and self._waiting:
            number, job = self._idle.pop(), self._waiting.popleft()
            self._calls[self._actors[number].process.remote(job)] = (number, job)

    def _replace(self, number: int, job: VideoJob | None, fault: str) -> None:
        self._ray.kill(self._actors.pop(number))  # it may be out of reach only
        self._deaths_in_a_row[number] += 1
        if job is not None:
            tries = self._num_tries[job.name] = self._num_tries.get(job.name, 0) + 1
            logger.error(f"{job.name}: its actor was lost at try {tries} ({fault})")
            if tries == _MAX_TRIES:
                self._fail(job, f"{tries} actors were lost while they worked on it ({fault})")
            else:
                self._waiting.append(job)
        if self._deaths_in_a_row[number] < _MAX_DEATHS_IN_A_ROW:
            self._start(number)
        else:
            self._lost.append(f"{_MAX_DEATHS_IN_A_ROW} actors in a row were lost: {fault}")
            logger.error(self._lost[-1])
        self._hand_out()

    def _fail(self, job: VideoJob, reason: str) -> None:
        self._results.fail(job.name, reason)


def _cause_of_loss(error: Exception) -> str:
    """Return what matters of Ray's long texts."""
    text = " ".join(str(error).split())
    cause = re.search(r"is dead because ([^.]*)\.", text)
    return cause[1] if cause else text.partition(". ")[0]


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise UserError(
            f"--engine ray needs the package ray: pip install 'tubedet[ray]' ({error})"
        ) from error
    return ray


def _check_reachable(address: str) -> None:
    """Try an address of the form HOST:PORT at once; Ray would try it for minutes.

    Raises:
        OSError: if nothing listens there.
    """
    if match := re.fullmatch(r"(?:ray://)?(.+):(\d+)", address):
        socket.create_connection((match[1], int(match[2])), timeout=_CONNECTION_SECONDS).close()


def _places(ray: Any, use_gpus: bool | None, max_actors: int | None) -> list[dict]:
    """Return what each actor asks Ray for.

    Raises:
        UserError: if there is no room for any, or not for so many.
    """
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    num_gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
    if use_gpus or (use_gpus is None and num_gpus):
        if num_gpus == 0:
            raise UserError("the Ray cluster has no GPU; MODEL.DEVICE cpu works on its CPU cores")
        place = {"num_gpus": 1, "num_cpus": 1, "device": "cuda"}
        return [place] * min(num_gpus, max_actors or num_gpus)
    cores = [int(machine.get("CPU", 0)) for machine in machines]
    number = max_actors or sum(core > 0 for core in cores)
    if not 0 < number <= sum(cores):
        raise UserError(f"{number or 1} CPU processes, but the Ray cluster has {sum(cores)} cores")
    each = next(n for n in range(max(cores), 0, -1) if sum(core // n for core in cores) >= number)
    return [{"num_cpus": each, "device": "cpu"}] * number
