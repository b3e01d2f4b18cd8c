r"""Detect actions in videos, follow the persons, and draw them.

    tubedet demo in.mp4 --model TubeR_CSN152_AVA21
    tubedet demo --config-file X --video-input in.mp4 --output out.mp4 MODEL.WEIGHTS w.pth
    tubedet demo --config-file X --webcam --show --opts MODEL.WEIGHTS w.pth
    tubedet demo --config-file X --input 'films/*.mp4' frames/film --output drawn \
        --opts MODEL.WEIGHTS w.pth

Videos that are named without an option are drawn to NAME_actions.mp4 in the current folder unless
outputs are given. --model fetches a released detector once and knows its config.

The video that is written has the frames, the time stamps and the sound of the input. --predictions
writes the model's output at the key frames as AVA rows "video_id,timestamp,x1,y1,x2,y2,action_id,
score" without any threshold; --json writes the persons with their ids and actions, one line per
key frame, and --coco the same in the format of COCO. --events writes who does what from when to
when: video,person_id,action,start,end,score. Times count from the first frame.

--explain "answer phone" draws, in a colour of its own, where the model looks for that action: for
the person drawn with its best score, whom a line at the lower left names. A class-query detector
looks for each action by itself, TubeR and D4 once for all actions of a person.

--blur hides persons behind mosaics, --trails draws where they went, and --ground-truth puts the
annotations of a data set beside the detections.

Files appear when they are complete, in place of older ones. Ctrl-C finishes them with what was
drawn so far; a second Ctrl-C drops them.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import os
import signal
import threading
from collections.abc import Iterator

import tqdm

from tubedet.console_log import log_to_console
from tubedet.data.video.sources import open_frame_source
from tubedet.engine import check_started_once, load_config
from tubedet.engine.config_checks import check_model_config
from tubedet.errors import USER_ERRORS, UserError
from tubedet.inference import (
    VideoActionDetector,
    VideoSummary,
    action_names_of,
    write_video_results,
)
from tubedet.inference.counted_nouns import counted
from tubedet.inference.drawing import VideoWindow
from tubedet.inference.ground_truth import read_ground_truth
from tubedet.inference.model_caption import TOY_CAPTION, model_caption

from .arguments import add_detector_arguments, add_limit_arguments, add_model_argument
from .demo_jobs import OUTPUTS, Job, check_outputs, is_missing, jobs_of, split_at_key
from .drawing_arguments import (
    add_drawing_arguments,
    check_drawing_arguments,
    drawing_options,
    given_drawing_options,
)
from .person_box_arguments import add_person_box_arguments, build_detector
from .running import INTERRUPTED, WRONG_INPUT, print_error

logger = logging.getLogger("tubedet.demo")

OPTIONS_ANYWHERE = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command.

    Args:
        parser: of the command.
    """
    add_model_argument(parser)
    parser.add_argument("--config-file", metavar="FILE", help="architecture and clip sampling")
    parser.add_argument(
        "videos", nargs="*", metavar="VIDEO", help="as for --input; KEY VALUE may follow them"
    )
    inputs = parser.add_mutually_exclusive_group()
    inputs.add_argument("--video-input", metavar="FILE|URL", help="video to look at")
    inputs.add_argument(
        "--webcam", nargs="?", type=int, const=0, metavar="INDEX", help="camera (default: 0)"
    )
    inputs.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        help="videos, folders of frames, folders of videos, patterns like 'films/*.mp4'",
    )
    parser.add_argument("--fps", type=float, help="frames per second of a folder (default: 30)")
    parser.add_argument("--output", help="video to write; a folder if there are several inputs")
    parser.add_argument("--predictions", metavar="CSV", help="AVA rows to write, or a folder")
    parser.add_argument("--json", metavar="JSONL", help="json lines to write, or a folder")
    parser.add_argument("--coco", metavar="JSON", help="COCO json to write, or a folder")
    parser.add_argument(
        "--events", metavar="CSV", help="who does what from when to when, to write, or a folder"
    )
    parser.add_argument("--show", action="store_true", help="show it in a window; q ends it")
    parser.add_argument(
        "--confidence-threshold",
        type=float,
        default=0.5,
        help="lowest score of an action that is drawn, or an event (default: 0.5)",
    )
    parser.add_argument(
        "--person-threshold",
        type=float,
        default=0.5,
        help="lowest probability of a person who is drawn (default: 0.5)",
    )
    parser.add_argument(
        "--explain",
        action="append",
        default=[],
        metavar="ACTION",
        help="draw as heat where the model looks for an action, such as 'answer phone'; may be "
        "given several times; needs a class-query detector, TubeR or D4",
    )
    parser.add_argument(
        "--ground-truth",
        metavar="DATASET",
        help="draw the annotations of the videos' data set, a registered name or a yaml, beside "
        "the detections",
    )
    add_drawing_arguments(parser)
    parser.add_argument(
        "--smoothing",
        type=float,
        default=1.0,
        help="seconds over which action scores of a person are averaged (default: 1; 0: not)",
    )
    parser.add_argument(
        "--every", type=float, default=1.0, help="seconds between key frames (default: 1)"
    )
    parser.add_argument("--start", type=float, default=0.0, help="second at which to begin")
    parser.add_argument("--end", type=float, help="second at which to end")
    add_detector_arguments(parser)
    add_limit_arguments(parser)
    add_person_box_arguments(parser)
    parser.add_argument("--compile", action="store_true", help="compile the backbone first")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config keys"
    )


def check_arguments(options: argparse.Namespace) -> None:
    """Check the options, and find the videos and files that they name: ``options.jobs``.

    Args:
        options: of :func:`add_arguments`.

    Raises:
        UserError: if an option makes no sense.
        OSError: if an input cannot be looked at.
    """
    options.videos, last_opts = split_at_key(options.videos)
    options.opts = [*last_opts, *options.opts]
    _check(options)
    options.jobs = jobs_of(options)


def main(options: argparse.Namespace) -> int:
    """Detect, draw and write.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status, 2 on input that cannot be used, 130 after Ctrl-C.
    """
    log_to_console()
    check_started_once()
    try:
        if options.show:
            with VideoWindow("tubedet") as window:
                return run_jobs(options, window)
        return run_jobs(options, None)
    except KeyboardInterrupt:
        print_error("interrupted, nothing was written of the last video", prog=options.prog)
        return INTERRUPTED


def run_jobs(options: argparse.Namespace, window: VideoWindow | None) -> int:
    """Process the videos one after another; one that cannot be used does not stop the others.

    Args:
        options: of :func:`add_arguments`.
        window: where to show the drawings; None: nowhere.

    Returns:
        int: exit status.

    Raises:
        UserError: if config, weights or outputs cannot be used.
        OSError: if files cannot be read or written.
    """
    cfg = load_config(options.config_file, options.opts)
    check_model_config(cfg)
    check_outputs(options.jobs)
    jobs, status = [], 0
    for job in options.jobs:
        if is_missing(job):  # the others are done all the same
            print_error(f"{job.source}: there is no such file or folder", prog=options.prog)
            status = WRONG_INPUT
        else:
            jobs.append(job)
    if not jobs:
        return status
    detector = build_detector(options, cfg)
    if model_caption(detector.model) == TOY_CAPTION:
        logger.warning(TOY_CAPTION)
    names = action_names_of(cfg, detector.model)
    with _finished_on_interrupt() as interrupted:
        for job in jobs:
            try:
                summary = run_job(detector, job, options, names, window, interrupted)
            except USER_ERRORS as error:
                print_error(error, prog=options.prog)
                if interrupted.is_set():
                    return INTERRUPTED
                status = WRONG_INPUT
                continue
            written = [str(path) for path in vars(job.outputs).values() if path is not None]
            logger.info(
                f"{job.name}: {counted(summary.num_persons, 'person')} at "
                + counted(summary.num_key_frames, "key frame")
                + (f", {counted(summary.num_frames, 'frame')} drawn" if summary.num_frames else "")
                + (f"; in {', '.join(written)}" if written else "")
            )
            if interrupted.is_set():
                return INTERRUPTED
            if summary.is_stopped:
                break
    return status


def run_job(
    detector: VideoActionDetector,
    job: Job,
    options: argparse.Namespace,
    action_names: list[str],
    window: VideoWindow | None,
    interrupted: threading.Event,
) -> VideoSummary:
    """Process one video under a progress bar.

    Args:
        detector: the model.
        job: the video.
        options: of :func:`add_arguments`.
        action_names: A names.
        window: where to show the drawings; None: nowhere.
        interrupted: ends it when set.
    """
    truth = None
    if options.ground_truth is not None:
        truth = read_ground_truth(options.ground_truth, str(job.source))
    is_folder = isinstance(job.source, str) and os.path.isdir(job.source)
    fps = options.fps if is_folder else None
    with open_frame_source(job.source, fps=fps, max_pixels=options.max_pixels) as source:
        total = source.num_frames
        if total is not None:
            begin, end = (round(t * source.rate) for t in (options.start, options.end or 0))
            total = max(0, (min(end, total) if options.end else total) - begin)
        with tqdm.tqdm(desc=job.name, total=total, unit="frame", dynamic_ncols=True) as bar:
            summary = write_video_results(
                detector,
                source,
                job.outputs,
                action_names=action_names,
                every=options.every,
                start=options.start,
                end=options.end,
                confidence_threshold=options.confidence_threshold,
                person_threshold=options.person_threshold,
                smoothing=options.smoothing,
                drawing=drawing_options(options, truth),
                max_minutes=options.max_minutes,
                show=None if window is None else window.show,
                progress=lambda time: bar.update(
                    round((time - options.start) * source.rate) + 1 - bar.n
                ),
                stop=interrupted.is_set,
            )
            if not summary.num_frames and not summary.is_stopped and bar.total:
                bar.update(bar.total - bar.n)  # the frames after the last key frame
            return summary


@contextlib.contextmanager
def _finished_on_interrupt() -> Iterator[threading.Event]:
    """Set the event at the first Ctrl-C or SIGTERM; from the second on they act as usual."""
    interrupted = threading.Event()
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def act_as_usual() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def handle(*_) -> None:
        act_as_usual()
        interrupted.set()
        logger.warning("Finishing what was drawn so far; Ctrl-C once more drops it")

    for number in usual:
        signal.signal(number, handle)
    try:
        yield interrupted
    finally:
        act_as_usual()


def _check(options: argparse.Namespace) -> None:
    """Raise UserError for options that make no sense whatever the input."""
    if not 0 < options.every < float("inf"):
        raise UserError(f"--every must be a positive number of seconds, got {options.every}")
    if not 0 <= options.start < float("inf"):
        raise UserError(f"--start must be a number of seconds, got {options.start}")
    if options.end is not None and not options.end > options.start:
        raise UserError(f"--end {options.end} must be later than --start {options.start}")
    if not 0 <= options.smoothing < math.inf:
        raise UserError(f"--smoothing must be a number of seconds, got {options.smoothing}")
    for name in ("confidence_threshold", "person_threshold"):
        if not 0 <= getattr(options, name) <= 1:
            option = name.replace("_", "-")
            raise UserError(f"--{option} must be in [0, 1], got {getattr(options, name)}")
    given = [options.webcam, options.video_input, options.input, options.videos or None]
    if sum(value is not None for value in given) != 1:
        raise UserError("give videos, or one of --video-input, --input and --webcam")
    is_output_given = any(getattr(options, option) is not None for option in OUTPUTS)
    if not options.videos and not options.show and not is_output_given:
        raise UserError(
            "say what is wanted: --output, --predictions, --json, --coco, --events or --show"
        )
    is_drawn = options.output is not None or options.show or not is_output_given
    check_drawing_arguments(options)
    given_drawing = given_drawing_options(options, "explain", "ground_truth")
    if given_drawing and not is_drawn:
        raise UserError(f"{given_drawing[0]} draws on the video: give --output or --show")
    if options.ground_truth is not None and options.webcam is not None:
        raise UserError("--ground-truth is for the videos of a data set, not for --webcam")
