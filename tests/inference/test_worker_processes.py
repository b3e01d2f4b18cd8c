"""Processes that die while they work on videos; devices are only names here."""

import errno
import json
import multiprocessing
import os
import signal
import time

import pytest
import torch

from tubedet.errors import UserError
from tubedet.inference.device_faults import device_faults_told_apart
from tubedet.inference.result_folder import ResultFolder
from tubedet.inference.video_jobs import VideoJob, process_videos
from tubedet.inference.worker_processes import devices_of_processes, run_worker_processes

FORK = multiprocessing.get_context("fork")
JOBS = [VideoJob(f"film{number:02}", f"/data/film{number:02}.mp4") for number in range(12)]
CUDA_ERROR = "CUDA error: an illegal memory access was encountered"


class Run:
    """Processes that share JOBS; what they do is noted in a file."""

    def __init__(self, path, devices, behave=lambda device, job: None):
        self.path, self.devices, self.behave = path / "out", devices, behave
        self.notes = path / "notes"
        self.notes.touch()

    def work(self, number, device, reports):
        broken = []  # as a GPU is until its process ends

        def probe(device):
            if broken:
                raise torch.AcceleratorError(CUDA_ERROR)

        def process(job, folder):
            self.note("begin", device, job.name)
            with device_faults_told_apart(device, probe=probe):
                if self.behave(device, job) == "break":
                    broken.append(True)
                if broken:
                    raise torch.AcceleratorError(CUDA_ERROR)
                (folder / "rows.csv").write_text(job.source)
            reports.progress()
            self.note("done", device, job.name)
            return {"video": job.source}

        self.note("start", device, None)
        reports.started()
        with ResultFolder(self.path) as results:
            process_videos(JOBS, results, process, poll_seconds=0.01)

    def note(self, *what):
        with open(self.notes, "a") as stream:
            stream.write(json.dumps(what) + "\n")

    def count(self, kind, device=None, name=None):
        """Notes of a kind."""
        notes = [json.loads(line) for line in self.notes.read_text().splitlines()]
        return sum(
            note[0] == kind and device in (None, note[1]) and name in (None, note[2])
            for note in notes
        )

    def __call__(self):
        with ResultFolder(self.path) as results:
            self.lost = run_worker_processes(
                self.work, self.devices, after_death=results.note_killed, start_method="fork"
            )
            self.failed = {
                job.name: reason for job in JOBS if (reason := results.failure(job.name))
            }
        self.done = {path.parent.name for path in self.path.glob("*/video.json")}
        for name in self.done:
            assert (self.path / name / "rows.csv").read_text() == f"/data/{name}.mp4"
        return self


def names(*left_out):
    return {job.name for job in JOBS} - set(left_out)


def test_a_gpu_that_breaks_once_fails_no_video(tmp_path):
    run = Run(tmp_path, ["cuda:0", "cuda:1"])
    run.behave = lambda device, job: (
        "break" if job.name == "film03" and run.count("begin", name="film03") == 1 else None
    )
    run()
    assert (run.done, run.failed, run.lost) == (names(), {}, [])
    assert run.count("begin", name="film03") == 2
    assert run.count("begin") == len(JOBS) + 1 and run.count("start") == 3


def test_a_gpu_that_stays_broken_is_left_out_and_the_others_go_on(tmp_path):
    def behave(device, job):
        if device == "cuda:1":
            return "break"
        deadline = time.monotonic() + 60
        while run.count("begin", "cuda:1") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)  # the other one finds videos to fail at

    run = Run(tmp_path, ["cuda:0", "cuda:1"], behave)
    run()
    assert (run.done, run.failed) == (names(), {})
    assert run.lost == [f"cuda:1 works no more: {CUDA_ERROR}"]
    assert run.count("begin", "cuda:1") == run.count("start", "cuda:1") == 3
    assert run.count("start", "cuda:0") == 1


def test_one_gpu_that_stays_broken_leaves_the_videos_undone(tmp_path):
    run = Run(tmp_path, ["cuda:0"], lambda device, job: "break")()
    assert (run.done, run.failed) == (set(), {})
    assert run.lost == [f"cuda:0 works no more: {CUDA_ERROR}"]
    assert run.count("begin") == 3  # three different ones


@pytest.mark.parametrize("devices", [["cuda:0"], ["cuda:0", "cuda:1"]])
@pytest.mark.parametrize("end", ["break", "kill"])
def test_a_video_that_breaks_every_gpu_fails_alone(tmp_path, devices, end):
    def behave(device, job):
        if job.name == "film00":
            if end == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            return end

    run = Run(tmp_path, devices, behave)()
    assert run.done == names("film00") and run.lost == []
    assert run.failed == {"film00": "2 processes ended while they worked on it"}
    assert run.count("begin", name="film00") == 2 and run.count("begin") == len(JOBS) + 1


def test_a_process_that_dies_at_its_start_is_not_started_again(tmp_path):
    run = Run(tmp_path, ["cuda:0", "cuda:1"])
    inner = run.work

    def work(number, device, reports):
        if device == "cuda:1":
            run.note("start", device, None)
            os._exit(7)
        inner(number, device, reports)

    run.work = work
    run()
    assert run.done == names() and run.count("start", "cuda:1") == 1
    assert run.lost == ["the process of cuda:1 ended with status 7"]


def test_errors_end_all_processes(tmp_path):
    def fail(number, device, reports):
        if device == "cuda:1":
            raise error
        FORK.Event().wait(600)

    for error in (UserError("no such weights"), OSError(errno.ENOSPC, "No space left on device")):
        with pytest.raises(type(error)) as raised:
            run_worker_processes(fail, ["cuda:0", "cuda:1"], start_method="fork")
        assert str(raised.value) == str(error)
    error = KeyError("a bug")
    with pytest.raises(RuntimeError, match="(?s)the process of cuda:1 failed.*KeyError: 'a bug'"):
        run_worker_processes(fail, ["cuda:0", "cuda:1"], start_method="fork")
    assert multiprocessing.active_children() == []


def test_devices(monkeypatch):
    assert devices_of_processes("cpu", 2) == ["cpu", "cpu"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="MODEL.DEVICE is cuda, but there is no GPU"):
        devices_of_processes("cuda", 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices_of_processes("cpu", 3) == ["cpu"] * 3
    assert devices_of_processes("cuda", 2) == ["cuda:0", "cuda:1"]
    assert devices_of_processes("cuda:1", 1) == ["cuda:1"]
    with pytest.raises(UserError, match="--num-gpus 3, but there are 2 GPUs"):
        devices_of_processes("cuda", 3)
    with pytest.raises(UserError, match="MODEL.DEVICE cuda:1 is one GPU"):
        devices_of_processes("cuda:1", 2)
