r"""Detect actions in many videos.

    tubedet predict --config-file X --inputs list.txt --output DIR --num-gpus 8 \
        MODEL.WEIGHTS w.pth
    tubedet predict --model TubeR_CSN152_AVA21 --inputs list.txt --output DIR

list.txt names one video file, folder of frames or URL per line, relative to its own folder. Each
process takes the next unclaimed video, so on several machines (--num-machines, or simply
the same command on each) DIR must be a folder that all of them see, and whose file locks work.

DIR/NAME holds the results of a video and appears when all of them are complete; NAME is the stem of
the file, with its folder in front where stems are equal. After an interruption of any kind the same
command goes on: what is done is skipped, what was half done is done again. Results made with other
weights or settings (DIR/run.json) are never mixed. A video that cannot be read is listed at the end
and in DIR/failed.json, the others are done all the same, and the exit status is 1.

On a machine without a GPU, --num-gpus N starts N CPU processes.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import tqdm
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from torch.multiprocessing import ProcessExitedException

from tubedet.data.video.sources import open_frame_source
from tubedet.engine import check_started_once, launch_processes, load_config
from tubedet.errors import UserError
from tubedet.files.atomic_writing import write_json
from tubedet.files.urls import is_url
from tubedet.inference import (
    VideoActionDetector,
    VideoOutputs,
    action_names_of,
    write_video_results,
)
from tubedet.inference.result_folder import ResultFolder, run_with_settings
from tubedet.inference.video_jobs import VideoJob, process_videos, read_video_list
from tubedet.model_zoo import local_weights

from .arguments import (
    add_config_arguments,
    add_detector_arguments,
    add_model_argument,
    add_process_arguments,
)
from .running import INTERRUPTED

logger = logging.getLogger("tubedet.predict")

_SUFFIXES = {"csv": ".csv", "jsonl": ".jsonl", "coco": ".coco.json", "mp4": ".mp4"}
_OUTPUTS = {"csv": "predictions", "jsonl": "json_lines", "coco": "coco", "mp4": "video"}
# Of a config, what changes a result.
_SETTINGS = ("MODEL", "INPUT")
# The weights count by what is in the file.
_SPEED_ONLY = ("MODEL.DEVICE", "MODEL.WEIGHTS", "MODEL.CSN.EXECUTION")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command.

    Args:
        parser: of the command.
    """
    parser.add_argument("--inputs", required=True, type=Path, help="text file, a video per line")
    parser.add_argument("--output", required=True, type=Path, help="folder of the results")
    parser.add_argument(
        "--formats",
        default="csv,jsonl",
        help=f"what to write of each video, of {', '.join(_SUFFIXES)} (default: csv,jsonl)",
    )
    parser.add_argument(
        "--every", type=float, default=1.0, help="seconds between key frames (default: 1)"
    )
    add_detector_arguments(parser)
    add_process_arguments(parser)
    add_model_argument(parser)
    add_config_arguments(parser, help="architecture and clip sampling", required=False)


def check_arguments(options: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Args:
        options: of :func:`add_arguments`.

    Raises:
        UserError: if they do not.
    """
    options.formats = sorted(set(options.formats.split(",")))
    if unknown := [name for name in options.formats if name not in _SUFFIXES]:
        raise UserError(f"--formats: {unknown[0]!r} is none of {', '.join(_SUFFIXES)}")
    if not (options.every > 0 and math.isfinite(options.every)):
        raise UserError(f"--every must be a positive number of seconds, got {options.every}")
    if options.num_machines > 1 and options.dist_url == "auto":
        raise UserError("several machines need --dist-url tcp://HOST:PORT of the first one")


def main(options: argparse.Namespace) -> int:
    """Detect in all videos of a list.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status: 1 if some video failed, 2 on input that cannot be used, 130 if stopped.
    """
    setup_logger(name="tubedet")
    check_started_once(per_machine=True)
    jobs = read_video_list(options.inputs)
    settings = result_settings(options)
    try:
        with run_with_settings(options.output, settings):
            return predict(jobs, options)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return INTERRUPTED


def result_settings(options: argparse.Namespace) -> dict:
    """Everything that changes the results.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        dict: json object.

    Raises:
        OSError: if the config or the weights cannot be read.
        UserError: if the config cannot be used or names no weights.
    """
    cfg = load_config(options.config_file, options.opts)
    if not cfg.MODEL.WEIGHTS:
        raise UserError("MODEL.WEIGHTS is empty: without weights detections are meaningless")
    config = {section: cfg[section] for section in _SETTINGS}
    settings = {key: value for key, value in _flat(config) if key not in _SPEED_ONLY}
    settings["weights"] = _fingerprint(local_weights(cfg.MODEL.WEIGHTS, "MODEL.WEIGHTS"))
    for name in ("every", "formats", "amp"):
        settings[name] = getattr(options, name)
    return settings


def predict(jobs: list[VideoJob], options: argparse.Namespace) -> int:
    """Start the processes, wait for them and say what was done.

    Args:
        jobs: the videos.
        options: of :func:`add_arguments`.

    Returns:
        int: exit status.

    Raises:
        UserError: if results of other videos have the names of these, or a process has ended.
    """
    with ResultFolder(options.output) as results:
        done_before = {job.name for job in jobs if _is_done(job, results)}
    if done_before:
        logger.info(f"{len(done_before)} of {len(jobs)} videos are done already")
    started = time.monotonic()
    if len(done_before) < len(jobs):
        arguments = argparse.Namespace(jobs=jobs, **vars(options))
        try:
            device = load_config(options.config_file, options.opts).MODEL.DEVICE
            launch_processes(run_process, arguments, device)
        except ProcessExitedException as error:  # killed from outside, say
            raise UserError(str(error)) from error
    wall_seconds = time.monotonic() - started

    with ResultFolder(options.output) as results:
        failed = {job.source: results.failure(job.name) for job in jobs}
        failed = {source: reason for source, reason in failed.items() if reason is not None}
        fresh = [results.record(job.name) for job in jobs if job.name not in done_before]
    fresh = [record for record in fresh if record is not None]
    failed_file = options.output / "failed.json"
    failed_file.unlink(missing_ok=True)
    if fresh:
        num_frames = sum(record["frames"] or 0 for record in fresh)
        seconds = sum(record["seconds"] for record in fresh)
        logger.info(
            f"{len(fresh)} videos, {num_frames} frames, {seconds:.1f} seconds of video in "
            f"{wall_seconds:.1f} s, start included: {num_frames / wall_seconds:.1f} frames/s, "
            f"{seconds / wall_seconds:.2f} seconds of video per second"
        )
    if failed:
        write_json(failed, failed_file)
        for source, reason in failed.items():
            reason = reason.removeprefix(f"{source}: ")
            print(f"failed: {source}: {reason}", file=sys.stderr)
        print(f"{len(failed)} of {len(jobs)} videos failed ({failed_file})", file=sys.stderr)
        return 1
    logger.info(f"the results of {len(jobs)} videos are in {options.output}")
    return 0


def run_process(options: argparse.Namespace) -> None:
    """Detect in videos, in each process of a run.

    Args:
        options: of :func:`add_arguments`; ``jobs`` are the videos.
    """
    setup_logger(name="tubedet", distributed_rank=comm.get_rank())
    with ResultFolder(options.output) as results:
        _process_videos(options, results)


def process_video(
    detector: VideoActionDetector,
    action_names: list[str],
    job: VideoJob,
    folder: Path,
    options: argparse.Namespace,
) -> dict:
    """Write the results of a video.

    Args:
        detector: the model.
        action_names: of the model.
        job: the video.
        folder: where to write.
        options: of :func:`add_arguments`.

    Returns:
        dict: json object that says what was done.

    Raises:
        VideoError: if the video cannot be read.
        OSError: if a result cannot be written.
    """
    with open_frame_source(job.source) as source:
        summary = write_video_results(
            detector,
            source,
            VideoOutputs(
                **{
                    _OUTPUTS[name]: folder / (job.name + _SUFFIXES[name])
                    for name in options.formats
                }
            ),
            action_names=action_names,
            name=job.name,
            every=options.every,
        )
        return {
            "video": job.source,
            "seconds": source.duration or summary.time,
            "frames": source.num_frames,
            "key_frames": summary.num_key_frames,
            "persons": summary.num_persons,
        }


def _process_videos(options: argparse.Namespace, results: ResultFolder) -> None:
    cfg = load_config(options.config_file, options.opts)
    if cfg.MODEL.DEVICE == "cpu" and options.num_gpus > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // options.num_gpus))
    detector = VideoActionDetector(cfg, amp=options.amp, batch_size=options.batch_size)
    action_names = action_names_of(cfg)

    def process(job: VideoJob, folder: Path) -> dict:
        return process_video(detector, action_names, job, folder, options)

    silent = not comm.is_main_process()
    names = {job.name for job in options.jobs}

    def show_progress() -> None:
        if not silent:
            bar.n = len(names & results.settled_names())
            bar.refresh()

    with tqdm.tqdm(total=len(options.jobs), unit="video", disable=silent) as bar:
        show_progress()
        process_videos(options.jobs, results, process, progress=show_progress)


def _is_done(job: VideoJob, results: ResultFolder) -> bool:
    record = results.record(job.name)
    if record is not None and record.get("video") != job.source:
        raise UserError(
            f"{results.path / job.name} holds the results of {record.get('video')}, not of "
            f"{job.source}; choose another --output"
        )
    return record is not None


def _fingerprint(weights: str) -> str:
    """Return what identifies weights, wherever they lie: a hash of a file, or a URL."""
    if is_url(weights):
        return weights
    with open(weights, "rb") as stream:
        return f"sha256 {_sha256(stream)}"


def _sha256(stream) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest()


def _flat(config: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
