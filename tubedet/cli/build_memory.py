r"""Write what a model sees in each second of the videos of data sets, for long-term context.

    tubedet build-memory --config-file configs/long_term/TubeR_CSN50_AVA21.yaml --output memories \
        --num-gpus 8 MODEL.WEIGHTS base.pth

DIR gets a folder for each video of DATASETS.TRAIN and DATASETS.TEST, or of --datasets. A training
with MODEL.MEMORY.ENABLED True, MODEL.MEMORY.STORE DIR and the same MODEL.WEIGHTS then trains the
layers that read it, and nothing else. Here it is the same whether MODEL.MEMORY.ENABLED is set.
After an interruption of any kind the same command goes on.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog

from tubedet.console_log import log_to_console
from tubedet.engine import check_started_once, load_config
from tubedet.engine.config_checks import check_model_config
from tubedet.errors import UserError
from tubedet.inference.many_videos import MEMORY, VideoDetection
from tubedet.inference.video_jobs import VideoJob

from .arguments import (
    add_config_arguments,
    add_detector_arguments,
    add_limit_arguments,
    add_model_argument,
    positive_int,
)
from .person_box_arguments import add_person_box_arguments, person_box_options
from .predict import detect_or_go_on

# Seconds between key frames: one vector a person and second.
EVERY = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command.

    Args:
        parser: of the command.
    """
    parser.add_argument(
        "--output", type=Path, help="folder of the memories (default: MODEL.MEMORY.STORE)"
    )
    parser.add_argument(
        "--datasets",
        nargs="+",
        metavar="NAME",
        help="data sets (default: those of DATASETS.TRAIN and DATASETS.TEST)",
    )
    add_detector_arguments(parser)
    add_limit_arguments(parser)
    add_person_box_arguments(parser)
    parser.add_argument(
        "--num-gpus",
        type=positive_int,
        metavar="N",
        help="processes of this machine, one per GPU or on the CPU (default: 1)",
    )
    add_model_argument(parser)
    add_config_arguments(parser, help="architecture and clip sampling", required=False)


def main(options: argparse.Namespace) -> int:
    """Write the memories of all videos.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status, as of ``tubedet predict``.

    Raises:
        UserError: if there is no output folder, or a data set has no seconds.
    """
    log_to_console()
    check_started_once(per_machine=True)
    cfg = load_config(options.config_file, options.opts)
    output = options.output or cfg.MODEL.MEMORY.STORE
    if not output:
        raise UserError("name a folder with --output, or MODEL.MEMORY.STORE")
    check_model_config(cfg)
    jobs = memory_jobs(options.datasets or [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
    options.output = Path(os.path.abspath(output))
    options.engine, options.address = "local", None
    detection = VideoDetection(
        without_reader(cfg),
        output=options.output,
        formats=(MEMORY,),
        every=EVERY,
        amp=options.amp,
        batch_size=options.batch_size,
        max_pixels=options.max_pixels,
        max_minutes=options.max_minutes,
        person_boxes=person_box_options(options, len(jobs)),
    )
    return detect_or_go_on(jobs, detection, options)


def without_reader(cfg: CfgNode) -> CfgNode:
    """Return the config of the model whose memories are read, whatever will read them.

    Args:
        cfg: of a model with long-term context or without.
    """
    base, defaults = cfg.clone(), load_config("").MODEL.MEMORY
    base.defrost()
    for key, value in defaults.items():
        if key not in ("PERSONS_PER_SECOND", "PERSON_THRESH"):
            base.MODEL.MEMORY[key] = value
    if os.path.isfile(base.MODEL.WEIGHTS):  # other processes may run in other folders
        base.MODEL.WEIGHTS = os.path.abspath(base.MODEL.WEIGHTS)
    return base


def memory_jobs(names: Iterable[str]) -> list[VideoJob]:
    """Return the videos of data sets, each once.

    Args:
        names: of data sets whose key frames are at seconds.

    Raises:
        UserError: if a data set numbers its frames instead, or a video cannot name a file.
    """
    jobs: dict[str, VideoJob] = {}
    for name in names:
        for record in DatasetCatalog.get(name):
            video = record["video_id"]
            if "frame_number" in record:
                raise UserError(
                    f"{name} is annotated frame by frame, in clips of seconds; long-term context "
                    "is for data sets with key frames at seconds, such as AVA"
                )
            if os.sep in video:
                raise UserError(f"{name}: video {video!r} cannot name a file; rename it")
            path = os.path.abspath(record["video"])
            fps = record["fps"] if os.path.isdir(path) else None
            jobs.setdefault(video, VideoJob(video, path, fps))
    if not jobs:
        raise UserError("there is no video; name data sets with --datasets")
    return list(jobs.values())
