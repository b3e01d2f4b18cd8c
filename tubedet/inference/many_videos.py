"""Detection in many videos, by the processes of this machine or of a Ray cluster."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import tqdm
from detectron2.config import CfgNode

from tubedet.console_log import log_to_console
from tubedet.data.memory_store import SUFFIX
from tubedet.data.video.container import MAX_PIXELS
from tubedet.data.video.sources import open_frame_source
from tubedet.errors import USER_ERRORS, UserError

from .action_names import action_names_of
from .device_faults import BrokenDeviceError, device_faults_told_apart, is_broken
from .frame_drawer import DrawingOptions
from .person_box_options import PersonBoxOptions
from .ray_actors import process_videos_with_ray
from .remembered_detection import model_to_remember
from .result_folder import ResultFolder, check_settings
from .result_settings import result_settings
from .video_detector import VideoActionDetector
from .video_jobs import VideoJob, process_videos
from .video_results import VideoOutputs, write_video_results
from .worker_processes import Reports, devices_of_processes, run_worker_processes

RESULT_SUFFIXES = {
    "csv": ".csv",
    "jsonl": ".jsonl",
    "coco": ".coco.json",
    "events": ".events.csv",
    "mp4": ".mp4",
}
# What `tubedet build-memory` writes instead.
MEMORY = "memory"
_SUFFIXES = {**RESULT_SUFFIXES, MEMORY: SUFFIX}
_OUTPUTS = {
    "csv": "predictions",
    "jsonl": "json_lines",
    "coco": "coco",
    "events": "events",
    "mp4": "video",
    MEMORY: "memory",
}


@dataclass(frozen=True)
class VideoDetection:
    """What is done with each video of a run.

    Attributes:
        cfg: the config.
        output: absolute path of the :class:`.ResultFolder`.
        formats: what is written, of :data:`RESULT_SUFFIXES`, or :data:`MEMORY` alone.
        every: seconds between key frames.
        amp: see :class:`~tubedet.inference.clip_inference.ClipInference`.
        batch_size: likewise.
        max_pixels: largest frame, see :func:`.open_frame_source`.
        max_minutes: longest time that a video may take; None: any.
        person_boxes: where the boxes come from that the model needs; None: it needs none.
        drawing: what is drawn on videos.
    """

    cfg: CfgNode
    output: Path
    formats: tuple[str, ...]
    every: float = 1.0
    amp: str | None = None
    batch_size: int = 1
    max_pixels: int = MAX_PIXELS
    max_minutes: float | None = None
    person_boxes: PersonBoxOptions | None = None
    drawing: DrawingOptions = DrawingOptions()

    def settings(self) -> dict:
        """Return what changes the results, see :func:`.result_settings`."""
        others = self.drawing.settings()
        if self.person_boxes is not None:
            others["person_boxes"] = self.person_boxes.settings()
        return result_settings(
            self.cfg, every=self.every, formats=self.formats, amp=self.amp, **others
        )


def detect_on_this_machine(
    jobs: list[VideoJob], detection: VideoDetection, num_processes: int
) -> list[str]:
    """Detect in a process per device; a single one on the CPU is this process.

    Args:
        jobs: the videos.
        detection: what is done with each.
        num_processes: one per GPU, or on the CPU.

    Returns:
        why processes were given up.

    Raises:
        UserError: if there are fewer GPUs.
    """
    devices = devices_of_processes(detection.cfg.MODEL.DEVICE, num_processes)
    with ResultFolder(detection.output) as results, _progress_bar(jobs, results) as show_progress:
        if devices == ["cpu"]:
            process = make_process(detection, "cpu")
            process_videos(jobs, results, process, progress=show_progress)
            return []
        work = functools.partial(run_process, jobs, detection, num_processes)
        return run_worker_processes(
            work, devices, watch=show_progress, after_death=results.note_killed
        )


def detect_with_ray(
    jobs: list[VideoJob],
    detection: VideoDetection,
    *,
    device: str | None = None,
    max_actors: int | None = None,
    address: str = "auto",
) -> list[str]:
    """Detect on the machines of a Ray cluster.

    Args:
        jobs: the videos.
        detection: what is done with each.
        device: "cpu" or "cuda"; None: the GPUs, if the cluster has any.
        max_actors: see :func:`.process_videos_with_ray`.
        address: likewise.

    Returns:
        why actors were given up.

    Raises:
        UserError: see :func:`.process_videos_with_ray`.
    """
    with ResultFolder(detection.output) as results, _progress_bar(jobs, results) as show_progress:
        return process_videos_with_ray(
            jobs,
            results,
            functools.partial(make_process_elsewhere, detection),
            use_gpus=None if device is None else device != "cpu",
            max_actors=max_actors,
            address=address,
            progress=show_progress,
        )


def run_process(
    jobs: list[VideoJob],
    detection: VideoDetection,
    num_processes: int,
    number: int,
    device: str,
    reports: Reports,
) -> None:
    """Detect in videos, in each process of this machine.

    Args:
        jobs: the videos.
        detection: what is done with each.
        num_processes: of this machine.
        number: of this process.
        device: that of this process.
        reports: to the one that started it.

    Raises:
        BrokenDeviceError: if the device works no more.
    """
    log_to_console(rank=number)
    if device == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // num_processes))
    process = make_process(detection, device)
    reports.started()

    def process_and_report(job: VideoJob, folder: Path) -> dict:
        record = process(job, folder)
        reports.progress()
        return record

    with ResultFolder(detection.output) as results:
        process_videos(jobs, results, process_and_report)


def make_process(detection: VideoDetection, device: str) -> Callable[[VideoJob, Path], dict]:
    """Build the model of a process.

    Args:
        detection: what is done with each video.
        device: that of this process.

    Returns:
        what writes the results of a video, see :func:`process_video`.

    Raises:
        BrokenDeviceError: if the device does not work.
        UserError: if the weights cannot be used.
    """
    if device.startswith("cuda"):
        if is_broken(device):
            raise BrokenDeviceError(f"{device} does not work")
        torch.cuda.set_device(device)
    with device_faults_told_apart(device):
        boxes = detection.person_boxes
        model = None
        if MEMORY in detection.formats:
            model = model_to_remember(detection.cfg, device)
        detector = VideoActionDetector(
            detection.cfg,
            model=model,
            device=device,
            amp=detection.amp,
            batch_size=detection.batch_size,
            person_boxes=None if boxes is None else boxes.build(detection.cfg, device),
        )
    action_names = action_names_of(detection.cfg, detector.model)

    def process(job: VideoJob, folder: Path) -> dict:
        with device_faults_told_apart(device):
            return process_video(detector, action_names, job, folder, detection)

    return process


def make_process_elsewhere(
    detection: VideoDetection, device: str
) -> Callable[[VideoJob, Path], dict]:
    """Build the model on a machine of a cluster, where output and weights may be other ones.

    Args:
        detection: see :func:`make_process`.
        device: likewise.

    Raises:
        BrokenDeviceError: if the device does not work.
        UserError: if the output folder or the weights are not those of the run.
    """
    try:
        if not (detection.output / "run.json").exists():
            raise UserError(
                f"{detection.output} is not the folder of this run; give an --output that all "
                "machines share"
            )
        check_settings(detection.output, detection.settings())
        return make_process(detection, device)
    except USER_ERRORS as error:
        raise UserError(f"on {socket.gethostname()}: {error}") from error


def process_video(
    detector: VideoActionDetector,
    action_names: list[str],
    job: VideoJob,
    folder: Path,
    detection: VideoDetection,
) -> dict:
    """Write the results of a video.

    Args:
        detector: the model.
        action_names: of the model.
        job: the video.
        folder: where to write.
        detection: what to write.

    Returns:
        dict: json object that says what was done.

    Raises:
        VideoError: if the video cannot be read.
        OSError: if a result cannot be written.
    """
    with open_frame_source(job.source, fps=job.fps, max_pixels=detection.max_pixels) as source:
        summary = write_video_results(
            detector,
            source,
            VideoOutputs(
                **{
                    _OUTPUTS[name]: folder / (job.name + _SUFFIXES[name])
                    for name in detection.formats
                }
            ),
            action_names=action_names,
            name=job.name,
            every=detection.every,
            drawing=detection.drawing,
            max_minutes=detection.max_minutes,
        )
        return {
            "video": job.source,
            "seconds": source.duration or summary.time,
            "frames": source.num_frames,
            "key_frames": summary.num_key_frames,
            "persons": summary.num_persons,
            "damaged_frames": summary.num_damaged,
        }


@contextlib.contextmanager
def _progress_bar(jobs: list[VideoJob], results: ResultFolder) -> Iterator[Callable[[], None]]:
    """Yield what brings the bar up to date."""
    names = {job.name for job in jobs}
    shown = (0, 0)
    with tqdm.tqdm(total=len(jobs), unit="video") as bar:

        def show() -> None:
            nonlocal shown
            counts = (len(names & results.settled_names()), len(names & results.failed_names()))
            bar.n = counts[0]
            bar.set_postfix_str(f"{counts[1]} failed" if counts[1] else "", refresh=False)
            # In a file every refresh is a line more.
            if sys.stderr.isatty() or (counts != shown and bar.n < len(jobs)):
                bar.refresh()
            shown = counts

        show()
        yield show
        show()
