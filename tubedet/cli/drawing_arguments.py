"""Options about what is drawn on videos beyond boxes and labels."""

from __future__ import annotations

import argparse

from tubedet.errors import UserError
from tubedet.inference import DrawingOptions
from tubedet.inference.ground_truth import VideoGroundTruth


def add_drawing_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--trails`` and ``--blur``.

    Args:
        parser: of the command; :func:`drawing_options` is called with its options.
    """
    group = parser.add_argument_group("drawing")
    group.add_argument(
        "--trails",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="draw where persons went in the last seconds (default: 0: not)",
    )
    group.add_argument(
        "--blur",
        choices=("persons", "faces"),
        help="hide the persons who are tracked behind mosaics, or the upper parts of their boxes, "
        "as wide as the box. No face is looked for: with 'faces' the face of somebody who lies or "
        "bends down stays visible. Persons who are not found stay visible, and the sound is kept",
    )


def check_drawing_arguments(options: argparse.Namespace) -> None:
    """Check the options of :func:`add_drawing_arguments`.

    Args:
        options: of the command.

    Raises:
        UserError: if a value makes no sense.
    """
    if not 0 <= options.trails < float("inf"):
        raise UserError(f"--trails must be a number of seconds, got {options.trails}")


def given_drawing_options(options: argparse.Namespace, *names: str) -> list[str]:
    """Return which options ask for something on the drawings, as they are written.

    Args:
        options: of the command.
        names: further ones than ``trails`` and ``blur``.
    """
    given = [name for name in ("trails", "blur", *names) if getattr(options, name)]
    return ["--" + name.replace("_", "-") for name in given]


def drawing_options(
    options: argparse.Namespace, ground_truth: VideoGroundTruth | None = None
) -> DrawingOptions:
    """Return what is to be drawn.

    Args:
        options: of :func:`add_drawing_arguments`.
        ground_truth: annotations to be drawn beside the detections.
    """
    return DrawingOptions(options.trails, options.blur, ground_truth)
