"""Command-line arguments of all tasks that run models."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence

from tubedet.cli.arguments import key_value_pairs
from tubedet.engine.config_checks import check_model_config
from tubedet.engine.evaluation_precision import AMP_DTYPES
from tubedet.errors import UserError

from .measured_model import CLIP_PLACES, ModelRun
from .random_clips import NUM_PERSONS

# AVA's films are mostly a little wider than 4:3.
_ASPECT_RATIO = 4 / 3


def add_model_arguments(
    parser: argparse.ArgumentParser, variants: Sequence[str] = (), *, default_config: str = ""
) -> None:
    """Add them.

    Args:
        parser: Of the task.
        variants: Forms of the model that the task compares, if it does.
        default_config: What the task measures without ``--config-file``, in words; empty: nothing.
    """
    parser.add_argument(
        "--config-file",
        action="append",
        required=not default_config,
        metavar="X",
        help="config to measure; repeat the option for several"
        + (f"; None: {default_config}" if default_config else ""),
    )
    if variants:
        parser.add_argument(
            "--variant",
            action="append",
            choices=variants,
            help="form of the model; repeat the option for several; None: all of them",
        )
        parser.add_argument(
            "--clips",
            choices=CLIP_PLACES,
            default="host",
            help="where uint8 clips are before a run; those of the host are copied to a GPU in it",
        )
    parser.add_argument(
        "--clip-size",
        nargs=3,
        type=positive,
        metavar=("T", "H", "W"),
        help="frames and pixels; None: those of the config's evaluation, 4:3",
    )
    parser.add_argument("--batch-size", type=positive, default=1, help="clips of a run")
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what also tasks with a grid of clips take: threads, persons, device, config keys."""
    parser.add_argument("--threads", type=positive, default=1, help="of PyTorch on the CPU")
    parser.add_argument("--warmup", type=_not_negative, default=1, help="runs that are not timed")
    parser.add_argument(
        "--persons",
        type=positive,
        default=NUM_PERSONS,
        help="of every clip: annotated ones in training, given boxes for RoIActionDetector",
    )
    parser.add_argument("--device", help='e.g. "cuda"; None: that of the config')
    parser.add_argument("--amp", choices=AMP_DTYPES, help="precision of autocast")
    parser.add_argument("--compile", action="store_true", help="torch.compile the backbone")
    parser.add_argument(
        "--matrix-size",
        type=positive,
        help="rows of the matrices whose product the machine is judged by; None: as many as the"
        " device needs",
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys")


def model_run(
    options: argparse.Namespace,
    config_file: str,
    variant: str,
    *,
    clip_size: Sequence[int] | None = None,
    batch_size: int = 1,
    opts: Sequence[str] = (),
    clips: str = "host",
) -> ModelRun:
    """Return what the options of :func:`add_run_arguments` and the rest of the arguments ask for.

    Args:
        options: The command line.
        config_file, variant, batch_size, clips: See :class:`ModelRun`.
        clip_size: T, H, W; None: those of the config's evaluation.
        opts: Config keys that the variant needs, before those of the command line.

    Returns:
        ModelRun: complete.

    Raises:
        OSError, KeyError: The config cannot be read.
        ValueError: Config keys without a value, or float16 on the CPU.
    """
    given = key_value_pairs(options.opts)
    device = ("MODEL.DEVICE", options.device) if options.device else ()
    run = ModelRun(
        config_file=config_file,
        opts=(*map(str, opts), *given, *device),
        variant=variant,
        clip_size=tuple(clip_size or ()),
        batch_size=batch_size,
        seed=options.seed,
        amp=options.amp,
        compiled=options.compile,
        matrix_size=options.matrix_size,
        clips=clips,
        num_persons=options.persons,
    )
    cfg = run.load_config()
    check_model_config(cfg)
    if cfg.MODEL.DEVICE == "cpu" and options.amp == "float16":
        raise UserError("--amp float16 needs a GPU; on the CPU use bfloat16")
    if not clip_size:
        height = cfg.INPUT.MIN_SIZE_TEST
        clip_size = (cfg.INPUT.CLIP.NUM_FRAMES, height, clip_width(height))
    return dataclasses.replace(run, clip_size=tuple(clip_size))


def clip_width(height: int) -> int:
    """Return the even width of a clip of 4:3."""
    return int(height * _ASPECT_RATIO) // 2 * 2


def positive(text: str) -> int:
    """Return a whole number above 0, for ``add_argument(type=...)``."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _not_negative(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number
