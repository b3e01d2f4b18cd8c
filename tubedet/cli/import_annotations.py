r"""Turn annotations of other tools into a custom data set: a csv and a yaml.

    tubedet import cvat gym.xml hall.xml --videos videos --output my_data/gym.yaml --fps 25 \
        --classes run jump talk
    tubedet import coco-video boxes.json --videos videos --output my_data/gym.yaml --fps 25 \
        --first-frame 0

Configs can name the yaml as a data set.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path

from tubedet.data.importers.coco_video import read_coco_video
from tubedet.data.importers.cvat import read_cvat
from tubedet.data.importers.dataset_writer import write_custom_dataset
from tubedet.errors import UserError

from .arguments import add_overwrite_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command, those of each format as a command of its own.

    Args:
        parser: of the command.
    """
    formats = parser.add_subparsers(dest="format", required=True, metavar="FORMAT")
    cvat = formats.add_parser(
        "cvat",
        help="exports of CVAT as 'CVAT for video 1.1'",
        description="Every track is a person, and its label is the action. With --attribute the "
        "actions stand in attributes instead: a checkbox is an action by its own name, any other "
        "attribute by its value.",
    )
    cvat.add_argument(
        "xml",
        type=Path,
        nargs="+",
        help="exports, each of one task; several of a video are put together",
    )
    _add_common(cvat)
    cvat.add_argument(
        "--classes", nargs="+", required=True, metavar="NAME", help="actions; the first has id 1"
    )
    cvat.add_argument(
        "--attribute", action="append", default=[], metavar="NAME", help="see above; repeatable"
    )
    coco = formats.add_parser(
        "coco-video",
        help="COCO-style json of videos",
        description="Understood are annotations with video_id and frame of their own, or with the "
        "image_id of an image which has them (frame or frame_id). Boxes are x, y, width, height in "
        "pixels; track_id (or instance_id) tells persons apart. A person with several actions has "
        "one annotation for each.",
    )
    coco.add_argument("json", type=Path, help="the annotation")
    _add_common(coco)
    coco.add_argument(
        "--first-frame", type=int, choices=(0, 1), required=True, help="number of the first frame"
    )


def check_arguments(options: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Args:
        options: of :func:`add_arguments`.

    Raises:
        UserError: if they do not.
    """
    if options.format == "cvat":
        if len(set(options.classes)) < len(options.classes):
            raise UserError("--classes: a name occurs twice")
        if len({path.resolve() for path in options.xml}) < len(options.xml):
            raise UserError("xml: a file occurs twice")


def main(options: argparse.Namespace) -> int:
    """Import, and print what was found.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status.

    Raises:
        AnnotationError: if an annotation cannot be used; the message names file and line.
        OSError: if a file cannot be read or written.
    """
    empty_frames: Collection[tuple[str, int]]
    if options.format == "cvat":
        inputs, classes = options.xml, options.classes
        boxes, empty_frames = read_cvat(inputs, classes, options.attribute)
    else:
        inputs = [options.json]
        boxes, empty_frames, classes = read_coco_video(
            options.json, first_frame=options.first_frame
        )
    write_custom_dataset(
        options.output,
        boxes,
        inputs=inputs,
        empty_frames=empty_frames,
        classes=classes,
        videos=options.videos,
        fps=options.fps,
        exclusive=options.exclusive,
        overwrite=options.overwrite,
    )
    videos = {box.video_id for box in boxes} | {video_id for video_id, _ in empty_frames}
    print(f"{options.output}: {len(boxes)} boxes in {len(videos)} videos, {len(classes)} actions")
    return 0


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--videos", type=Path, required=True, help="folder of the videos")
    parser.add_argument("--output", type=Path, required=True, help="yaml to write; csv beside it")
    parser.add_argument("--fps", type=float, required=True, help="frames per second of the videos")
    parser.add_argument("--exclusive", action="store_true", help="each person does one action")
    add_overwrite_argument(parser, help="replace existing files")
