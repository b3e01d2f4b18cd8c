"""Options about person boxes, for models that need them, and the detector that has them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from detectron2.config import CfgNode

from tubedet.data.person_boxes import FORMATS
from tubedet.inference import VideoActionDetector
from tubedet.inference.person_box_options import PersonBoxOptions


def add_person_box_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of :class:`tubedet.inference.person_box_options.PersonBoxOptions`.

    Args:
        parser: of the command; :func:`person_box_options` is called with its options.
    """
    group = parser.add_argument_group("person boxes, for models that need them")
    group.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE|DIR",
        help="boxes of a detector or tracker, or a folder with a file per video, named as it",
    )
    group.add_argument(
        "--boxes-format",
        choices=FORMATS,
        default="",
        metavar="NAME",
        help=f"one of {', '.join(FORMATS)} (default: found by the content)",
    )
    group.add_argument(
        "--boxes-images", type=Path, metavar="JSON", help="the images of COCO results"
    )
    group.add_argument(
        "--boxes-start-second",
        type=float,
        default=0.0,
        metavar="S",
        help="second of the file at which the videos begin (default: 0)",
    )
    group.add_argument(
        "--person-detector",
        metavar="CONFIG|torchvision:NAME|FILE.onnx",
        help="find the persons by another detector: of tubedet, of torchvision or an ONNX file",
    )
    group.add_argument(
        "--person-weights",
        metavar="FILE",
        help="its weights; DEFAULT: those of torchvision, which it downloads",
    )


def person_box_options(options: argparse.Namespace, num_videos: int) -> PersonBoxOptions | None:
    """Return where person boxes come from; None if nothing is said of them.

    Args:
        options: of :func:`add_person_box_arguments`.
        num_videos: of the command.

    Raises:
        UserError: if options do not go together or the file cannot be used.
        OSError: if the file cannot be read.
    """
    boxes = PersonBoxOptions(
        path=None if options.boxes is None else options.boxes.absolute(),
        format=options.boxes_format,
        images=None if options.boxes_images is None else options.boxes_images.absolute(),
        start_second=options.boxes_start_second,
        detector=_absolute(options.person_detector),
        weights=_absolute(options.person_weights),
    )
    if boxes == PersonBoxOptions():
        return None
    boxes.check(num_videos)
    return boxes


def build_detector(options: argparse.Namespace, cfg: CfgNode) -> VideoActionDetector:
    """Build the detector of the demo.

    Args:
        options: of the command.
        cfg: the config.

    Raises:
        UserError: if boxes or weights cannot be used, or actions not explained.
        OSError: if a file cannot be read.
    """
    boxes = person_box_options(options, len(options.jobs))
    return VideoActionDetector(
        cfg,
        amp=options.amp,
        compile=options.compile,
        batch_size=options.batch_size,
        person_boxes=None if boxes is None else boxes.build(cfg),
        explain=options.explain,
    )


def _absolute(name: str | None) -> str | None:
    """Return the absolute path of a file; other names as they are."""
    return os.path.abspath(name) if name is not None and os.path.isfile(name) else name
