"""Options that several commands have."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from fractions import Fraction

from tubedet.data.video.container import MAX_PIXELS
from tubedet.errors import UserError
from tubedet.model_zoo import find_release, get_config_file


def add_config_arguments(
    parser: argparse.ArgumentParser, *, help: str, required: bool = True
) -> None:
    """Add ``--config-file`` and, behind all options, ``KEY VALUE ...``.

    Args:
        parser: of the command; further options may follow, further positional arguments may not.
        help: what the command takes from the config.
        required: refuse a command line without a config.
    """
    parser.add_argument("--config-file", metavar="FILE", required=required, help=help)
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys")


def key_value_pairs(words: Sequence[str]) -> list[str]:
    """Return ``KEY VALUE`` arguments, in which ``KEY=VALUE`` and ``KEY = VALUE`` are allowed, too.

    Args:
        words: of the command line.

    Returns:
        keys and values in turn.

    Raises:
        UserError: if a key has no value.
    """
    pairs: list[str] = []
    rest = list(words)
    while rest:
        key, is_joined, value = rest.pop(0).partition("=")
        if not is_joined:
            if rest[:1] == ["="]:
                rest.pop(0)
            if not rest:
                if key.startswith("--"):
                    raise UserError(
                        f"{key} stands behind KEY VALUE; put options before the first config key"
                    )
                raise UserError(
                    f"config keys and values must come in pairs, got {' '.join(words)}: {key} has "
                    "no value"
                )
            value = rest.pop(0)
        pairs += [key, value]
    return pairs


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--model``, with which ``--config-file`` is not needed.

    Args:
        parser: of the command; :func:`apply_model_argument` is called with its options.
    """
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="released detector such as TubeR_CSN152_AVA21: its config, and its weights, which are "
        "fetched once; --config-file gives another config, MODEL.WEIGHTS other weights",
    )


def apply_model_argument(options: argparse.Namespace) -> None:
    """Turn ``--model`` into config file and weights.

    Args:
        options: of the command; ``config_file`` and ``opts`` are changed.

    Raises:
        UserError: if there is neither a model nor a config, or no released detector of that name.
    """
    if options.model is not None:
        release = find_release(options.model, detector=True)
        assert release.config is not None  # a whole detector has one
        options.config_file = options.config_file or get_config_file(release.config)
        options.opts = ["MODEL.WEIGHTS", release.name, *options.opts]
    elif options.config_file is None:
        raise UserError("one of the arguments --config-file --model is required")


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of :class:`tubedet.VideoActionDetector`.

    Args:
        parser: of the command.
    """
    parser.add_argument(
        "--batch-size",
        type=positive_int,
        default=1,
        metavar="CLIPS",
        help="clips in one pass of the model (default: 1)",
    )
    parser.add_argument("--amp", choices=("float16", "bfloat16"), help="mixed precision")


def add_limit_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--max-megapixels`` and ``--max-minutes``, for videos of others.

    Args:
        parser: of the command; its options are ``max_pixels`` and ``max_minutes``.
    """
    parser.add_argument(
        "--max-megapixels",
        dest="max_pixels",
        type=_pixels,
        default=MAX_PIXELS,
        metavar="M",
        help="largest frame of a video; larger ones are refused (default: 67)",
    )
    parser.add_argument(
        "--max-minutes",
        type=_positive,
        metavar="M",
        help="longest work at a video, which then counts as failed (default: any)",
    )


def _pixels(text: str) -> int:
    return round(1e6 * _positive(text))


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return number


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    """Add detectron2's options for processes.

    Args:
        parser: of the command.
    """
    parser.add_argument(
        "--num-gpus",
        type=positive_int,
        default=1,
        metavar="N",
        help="processes of this machine; without a GPU they run on the CPU (default: 1)",
    )
    parser.add_argument(
        "--num-machines", type=positive_int, default=1, metavar="N", help="machines of this run"
    )
    parser.add_argument(
        "--machine-rank", type=int, default=0, metavar="K", help="number of this machine, from 0"
    )
    parser.add_argument(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="where the machines meet, such as tcp://HOST:PORT; auto: a free port of this one",
    )


def add_overwrite_argument(parser: argparse.ArgumentParser, *, help: str) -> None:
    """Add ``--overwrite``, and ``--force`` as another name of it.

    Args:
        parser: of the command.
        help: what is replaced.
    """
    parser.add_argument("--overwrite", "--force", action="store_true", help=help)


def positive_int(text: str) -> int:
    """Parse a whole number from 1 on.

    Args:
        text: as given on the command line.

    Raises:
        argparse.ArgumentTypeError: if it is none.
    """
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 on, got {text!r}")
    return int(text)


def frame_rate(text: str) -> float:
    """Parse a number of frames per second, such as 25, 29.97 or 30000/1001.

    Args:
        text: as given on the command line.

    Raises:
        argparse.ArgumentTypeError: if it is none.
    """
    try:
        rate = float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        rate = 0.0
    if not 1e-3 < rate < 1e6:
        raise argparse.ArgumentTypeError(f"expected frames per second, as 25, got {text!r}")
    return rate
