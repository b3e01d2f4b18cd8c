r"""Detect actions in many videos.

    tubedet predict --config-file X --inputs list.txt --output DIR --num-gpus 8 \
        MODEL.WEIGHTS w.pth
    tubedet predict --model TubeR_CSN152_AVA21 --inputs list.txt --output DIR

list.txt names one video file, folder of frames or URL per line, relative to its own folder.

DIR/NAME holds the results of a video and appears when all of them are complete; NAME is the stem of
the file, with its folder in front where stems are equal. After an interruption of any kind the same
command goes on: what is done is skipped, what was half done is done again. Results made with other
weights or settings (DIR/run.json) are never mixed. A video that cannot be read is listed at the end
and in DIR/failed.json, the others are done all the same, and the exit status is 1.

--num-gpus N starts N processes, one per GPU, each of which takes the next unclaimed video; on a
machine without a GPU they run on the CPU. --engine ray works on all machines of a Ray cluster: one
actor per GPU, or one per machine where there are none, at most --num-gpus. All machines then see
videos, weights and DIR under the same paths.

A process that is killed, or whose GPU works no more, is replaced, and its video goes to another
one. A video with which two processes ended (three actors of Ray) has failed.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
import time
from pathlib import Path

from tubedet.console_log import log_to_console
from tubedet.data.video.reader import VIDEO_EXTENSIONS
from tubedet.engine import check_started_once, load_config
from tubedet.engine.config_checks import check_model_config
from tubedet.errors import UserError
from tubedet.files.atomic_writing import write_json
from tubedet.files.output_checks import check_can_write
from tubedet.files.urls import is_url
from tubedet.inference.many_videos import (
    RESULT_SUFFIXES,
    VideoDetection,
    detect_on_this_machine,
    detect_with_ray,
)
from tubedet.inference.result_folder import ResultFolder, run_with_settings
from tubedet.inference.video_jobs import VideoJob, read_video_list

from .arguments import (
    add_config_arguments,
    add_detector_arguments,
    add_limit_arguments,
    add_model_argument,
    positive_int,
)
from .drawing_arguments import (
    add_drawing_arguments,
    check_drawing_arguments,
    drawing_options,
    given_drawing_options,
)
from .person_box_arguments import add_person_box_arguments, person_box_options
from .running import INTERRUPTED

logger = logging.getLogger("tubedet.predict")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command.

    Args:
        parser: of the command.
    """
    # Both are required: check_arguments tells so, after it has looked for a video in their place.
    parser.add_argument("--inputs", type=Path, help="text file, a video per line")
    parser.add_argument("--output", type=Path, help="folder of the results")
    parser.add_argument(
        "--formats",
        default="csv,jsonl",
        help=f"what to write of each video, of {', '.join(RESULT_SUFFIXES)} (default: csv,jsonl)",
    )
    parser.add_argument(
        "--every", type=float, default=1.0, help="seconds between key frames (default: 1)"
    )
    add_drawing_arguments(parser)
    add_detector_arguments(parser)
    parser.add_argument("--explain", metavar="ACTION", action="append", help=argparse.SUPPRESS)
    add_limit_arguments(parser)
    add_person_box_arguments(parser)
    parser.add_argument(
        "--num-gpus",
        type=positive_int,
        metavar="N",
        help="processes of this machine, one per GPU or on the CPU (default: 1); with --engine "
        "ray, most actors of the cluster (default: one per GPU)",
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="where the processes run: on this machine, or in a Ray cluster (default: local)",
    )
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="of the Ray cluster; auto: the one that was started on this machine; local: one for "
        "this run (default: auto)",
    )
    add_model_argument(parser)
    add_config_arguments(parser, help="architecture and clip sampling", required=False)


def check_arguments(options: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Args:
        options: of :func:`add_arguments`.

    Raises:
        UserError: if they do not.
    """
    if options.opts and _is_video(options.opts[0]):
        raise UserError(
            f"{options.opts[0]} stands where config keys are expected: predict takes a text file "
            "with a video per line, --inputs list.txt; for the video itself there is tubedet demo "
            f"{options.opts[0]}"
        )
    if missing := [f"--{name}" for name in ("inputs", "output") if not getattr(options, name)]:
        raise UserError(f"the following arguments are required: {', '.join(missing)}")
    if options.explain:
        raise UserError(
            "--explain draws on a video, and predict writes results alone: use "
            "tubedet demo --explain"
        )
    options.formats = sorted(set(options.formats.split(",")))
    if unknown := [name for name in options.formats if name not in RESULT_SUFFIXES]:
        raise UserError(f"--formats: {unknown[0]!r} is none of {', '.join(RESULT_SUFFIXES)}")
    if not (options.every > 0 and math.isfinite(options.every)):
        raise UserError(f"--every must be a positive number of seconds, got {options.every}")
    check_drawing_arguments(options)
    if (given := given_drawing_options(options)) and "mp4" not in options.formats:
        raise UserError(f"{given[0]} draws on videos: add mp4 to --formats")
    if options.address is not None and options.engine != "ray":
        raise UserError("--address is that of a Ray cluster; add --engine ray")


def main(options: argparse.Namespace) -> int:
    """Detect in all videos of a list.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status: 1 if some video failed, 2 on input that cannot be used, 130 if stopped.
    """
    log_to_console()
    check_started_once(per_machine=True)
    jobs = read_video_list(options.inputs)
    cfg = load_config(options.config_file, options.opts)
    if options.engine != "ray":  # whose machines may have other devices than this one
        check_model_config(cfg)
    _check_files(jobs, options)
    # Other processes may run in other folders.
    cfg.MODEL.WEIGHTS, *test = map(_absolute, (cfg.MODEL.WEIGHTS, *cfg.DATASETS.TEST))
    cfg.DATASETS.TEST = tuple(test)
    detection = VideoDetection(
        cfg,
        output=options.output.absolute(),
        formats=tuple(options.formats),
        every=options.every,
        amp=options.amp,
        batch_size=options.batch_size,
        max_pixels=options.max_pixels,
        max_minutes=options.max_minutes,
        person_boxes=person_box_options(options, len(jobs)),
        drawing=drawing_options(options),
    )
    return detect_or_go_on(jobs, detection, options, alone=options.engine == "ray")


def detect_or_go_on(
    jobs: list[VideoJob],
    detection: VideoDetection,
    options: argparse.Namespace,
    *,
    alone: bool = False,
) -> int:
    """Do what an earlier run with the same settings has not done.

    Args:
        jobs: the videos.
        detection: what is to be done with each.
        options: of the command: ``output``, ``engine``, ``address``, ``num_gpus`` and ``opts``.
        alone: let no other run join this one.

    Returns:
        exit status: 1 if some video failed, 130 if stopped.

    Raises:
        UserError: see :func:`.run_with_settings` and :func:`predict`.
    """
    try:
        with run_with_settings(detection.output, detection.settings(), alone=alone):
            return predict(jobs, detection, options)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return INTERRUPTED


def predict(jobs: list[VideoJob], detection: VideoDetection, options: argparse.Namespace) -> int:
    """Start the processes, wait for them and say what was done.

    Args:
        jobs: the videos.
        detection: what is to be done with each.
        options: of :func:`add_arguments`.

    Returns:
        int: exit status.

    Raises:
        UserError: if results of other videos have the names of these.
    """
    with ResultFolder(options.output) as results:
        done_before = {job.name for job in jobs if _is_done(job, results)}
    if done_before:
        logger.info(f"{len(done_before)} of {len(jobs)} videos are done already")
    started = time.monotonic()
    lost: list[str] = []
    if len(done_before) < len(jobs):
        if options.engine == "ray":
            lost = detect_with_ray(
                jobs,
                detection,
                # By itself MODEL.DEVICE says what this machine has, not what the cluster has.
                device=detection.cfg.MODEL.DEVICE if "MODEL.DEVICE" in options.opts[::2] else None,
                max_actors=options.num_gpus,
                address=options.address or "auto",
            )
        else:
            lost = detect_on_this_machine(jobs, detection, options.num_gpus or 1)
    wall_seconds = time.monotonic() - started

    with ResultFolder(options.output) as results:
        failed = {job.source: results.failure(job.name) for job in jobs}
        failed = {source: reason for source, reason in failed.items() if reason is not None}
        num_left = sum(not results.is_settled(job.name) for job in jobs)
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
    if damaged := sum(bool(record.get("damaged_frames")) for record in fresh):
        logger.warning(
            f"{damaged} of {len(jobs)} videos have damaged frames (damaged_frames in video.json)"
        )
    if failed:
        write_json(failed, failed_file)
        for source, reason in failed.items():
            reason = reason.removeprefix(f"{source}: ")
            print(f"failed: {source}: {reason}", file=sys.stderr)
        print(f"{len(failed)} of {len(jobs)} videos failed ({failed_file})", file=sys.stderr)
    if num_left:
        print(
            f"{num_left} of {len(jobs)} videos are left, and no process ({'; '.join(lost)}); the "
            "same command goes on",
            file=sys.stderr,
        )
    if failed or num_left:
        return 1
    logger.info(f"the results of {len(jobs)} videos are in {options.output}")
    return 0


def _check_files(jobs: list[VideoJob], options: argparse.Namespace) -> None:
    """Refuse what makes all work vain, before weights are fetched."""
    check_can_write(options.output / "run.json")
    if options.engine == "ray" or options.output.exists():  # videos elsewhere, or already done
        return
    if not any(is_url(job.source) or os.path.exists(job.source) for job in jobs):
        raise UserError(
            f"{options.inputs}: none of its videos exists, such as {jobs[0].source}; paths are "
            "relative to the folder of the list"
        )


def _is_video(word: str) -> bool:
    return word.lower().endswith(VIDEO_EXTENSIONS) or os.path.isfile(word)


def _absolute(name: str) -> str:
    return os.path.abspath(name) if os.path.isfile(name) else name


def _is_done(job: VideoJob, results: ResultFolder) -> bool:
    record = results.record(job.name)
    if record is not None and record.get("video") != job.source:
        raise UserError(
            f"{results.path / job.name} holds the results of {record.get('video')}, not of "
            f"{job.source}; choose another --output"
        )
    return record is not None
