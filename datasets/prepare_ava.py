#!/usr/bin/env python3
"""Prepares AVA v2.1 or v2.2, one command per step; every step can be stopped and run again.

annotations  put the lists and label maps where the data sets ava_v2.1_* and ava_v2.2_* look
download     fetch the films
trim         cut the minutes 15 to 30 out of them
frames       write the trimmed videos as jpgs, 30 per second
videos       or as small mp4s, which are read in place
"""

import argparse
import math
import os
import sys
from pathlib import Path

from ava_preparation.annotation_files import SPLITS, install_annotations, split_list
from ava_preparation.batch import PreparationError, for_each, sole_user
from ava_preparation.conversion import (
    RESAMPLING,
    Encoding,
    Folders,
    make_frames,
    make_videos,
    trim,
)
from ava_preparation.downloading import fetch, mirror_url
from ava_preparation.ffmpeg import Ffmpeg
from ava_preparation.section import Section, trimmed_section

from tubedet.cli.running import run_cli
from tubedet.data.annotations.video_lists import read_file_names

_MIRROR = "https://s3.amazonaws.com/ava-dataset"


def prepare(options: argparse.Namespace) -> int:
    """Do one step.

    Args:
        options: of :func:`parse_arguments`.

    Returns:
        int: exit status, 1 if some videos could not be done; they are listed on stderr.

    Raises:
        PreparationError: the step cannot be done at all.
        AnnotationError: an annotation file breaks its format.
        OSError: a file cannot be read or written.
    """
    folders = Folders(options.root.absolute())
    if options.step == "annotations":
        placed = install_annotations(
            folders.annotations, options.version, options.source, options.mirror
        )
        print(f"annotations: {len(placed)} files in {folders.annotations}")
        return 0
    video_ids = _listed_videos(folders, options.splits)
    if options.step == "download":
        failures = _download(video_ids, folders.originals, options)
        target = folders.originals
    else:
        failures, target = _convert(video_ids, folders, options)
    for video_id, message in sorted(failures.items()):
        print(f"{video_id}: {message}", file=sys.stderr)
    done = len(video_ids) - len(failures)
    print(f"{options.step}: {done} of {len(video_ids)} videos are in {target}")
    return 1 if failures else 0


def _convert(
    video_ids: dict[str, str], folders: Folders, options: argparse.Namespace
) -> tuple[dict[str, str], Path]:
    ffmpeg = Ffmpeg(options.ffmpeg)
    given = {name: getattr(options, name) for name in ("start", "length") if name in options}
    if options.step == "trim":
        section = Section(**given)
        encoding = Encoding(options.quality)
        failures = trim(
            video_ids, folders, ffmpeg, section=section, encoding=encoding, jobs=options.jobs
        )
        return failures, folders.trimmed
    section = trimmed_section(folders.trimmed, **given)
    if options.step == "frames":
        failures = make_frames(
            video_ids,
            folders,
            ffmpeg,
            section=section,
            resampling=options.resampling,
            jobs=options.jobs,
        )
        return failures, folders.frames
    encoding = Encoding(options.quality, options.short_side or None, options.gop)
    failures = make_videos(
        video_ids, folders, ffmpeg, section=section, encoding=encoding, jobs=options.jobs
    )
    return failures, folders.videos


def _download(
    video_ids: dict[str, str], originals: Path, options: argparse.Namespace
) -> dict[str, str]:
    def work(video_id: str) -> None:
        file_name = video_ids[video_id]
        fetch(mirror_url(options.mirror, "trainval", file_name), originals / file_name)

    with sole_user(originals):
        return for_each(video_ids, work, jobs=options.jobs, description="download")


def _listed_videos(folders: Folders, splits: list[str]) -> dict[str, str]:
    """File names of the films by video id."""
    video_ids: dict[str, str] = {}
    for split in splits:
        path = split_list(folders.annotations, split)
        if not path.is_file():
            raise PreparationError(f"{path}: no such file; run the step annotations first")
        video_ids |= read_file_names(path)
    return video_ids


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        argparse.Namespace: the options.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    steps = parser.add_subparsers(dest="step", required=True)
    datasets = Path(os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets")))
    parts = {
        name: steps.add_parser(name, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        for name in ("annotations", "download", "trim", "frames", "videos")
    }
    for name, part in parts.items():
        part.add_argument("--root", type=Path, default=datasets / "ava", help="the data set")
        if name in ("annotations", "download"):
            part.add_argument("--mirror", default=_MIRROR, help="address or folder of the files")
        if name != "annotations":
            jobs = 4 if name == "download" else os.cpu_count() or 1
            part.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS))
            part.add_argument("--jobs", type=_positive(int), default=jobs, help="at the same time")
        if name in ("trim", "frames", "videos"):
            part.add_argument("--ffmpeg", default="ffmpeg", help="the program")
            # Absent unless given: what trim did goes before the default.
            default = argparse.SUPPRESS
            of_trimmed = "" if name == "trim" else "as trimmed, or else "
            for option, kind, meaning in (
                ("start", _second, "first second to keep"),
                ("length", _positive(float), "seconds to keep"),
            ):
                help_text = f"{meaning} (default: {of_trimmed}{getattr(Section, option)})"
                part.add_argument(f"--{option}", type=kind, default=default, help=help_text)
    parts["annotations"].add_argument("--version", choices=("v2.1", "v2.2"), default="v2.2")
    parts["annotations"].add_argument(
        "--source",
        nargs="+",
        default=[],
        help="folders, zips or files, or addresses of the latter two, instead of the mirror",
    )
    parts["trim"].add_argument("--quality", type=int, default=18, help="crf of x264")
    parts["frames"].add_argument(
        "--resampling",
        choices=RESAMPLING,
        default="filter",
        help="to 30 frames per second: by ffmpeg's filter fps, or by -r as LFB and SlowFast do",
    )
    parts["videos"].add_argument("--quality", type=int, default=20, help="crf of x264")
    parts["videos"].add_argument(
        "--short-side", type=int, default=288, help="pixels; 0 keeps the size"
    )
    parts["videos"].add_argument(
        "--gop", type=_positive(int), default=30, help="distance of key pictures, frames; even"
    )
    return parser.parse_args(arguments)


def _second(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"must be 0 or a positive number, got {text}")
    return value


def _positive(kind: type):
    def parse(text: str):
        value = kind(text)
        if not value > 0:
            raise argparse.ArgumentTypeError(f"must be positive, got {text}")
        return value

    return parse


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: without the program's name; None: those of the process.

    Returns:
        exit status: 1 if some videos failed, 2 on input that cannot be used.
    """
    options = parse_arguments(arguments)
    return run_cli(lambda: prepare(options))


if __name__ == "__main__":
    sys.exit(main())
