r"""Write a detector to a file that runs without tubedet, and check it.

    python tools/export_model.py --config-file configs/AVA/TubeR_CSN50_AVA21.yaml \
        --format onnx --output tuber.onnx MODEL.WEIGHTS weights.pth

Batch and size of the clips are free unless --batch or --size fixes them, which makes the export
several times faster. The file runs on the CPU; one of --format torch_export on a GPU if the
arguments end with MODEL.DEVICE cuda. tools/run_exported_model.py shows how the file is used.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import cast

import torch
from detectron2.config import CfgNode
from tabulate import tabulate

from tubedet import load_model
from tubedet.console_log import log_to_console
from tubedet.engine import check_started_once, load_config
from tubedet.engine.config_checks import check_model_config
from tubedet.errors import UserError
from tubedet.export import (
    FORMATS,
    ClipShape,
    ExportError,
    compare,
    deployment_record,
    trace_detector,
    verification_shapes,
)
from tubedet.export.clip_program import OUTPUTS
from tubedet.export.trace import MAX_BATCH, MAX_SIDE, MIN_SIDE
from tubedet.files.atomic_writing import atomic_path
from tubedet.modeling.meta_arch import ClipModel

from .arguments import add_config_arguments, add_model_argument, add_overwrite_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command.

    Args:
        parser: of the command.
    """
    parser.add_argument("--format", choices=FORMATS, required=True, help="kind of file")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    parser.add_argument("--batch", type=int, help=f"clips in a batch (default: 1 to {MAX_BATCH})")
    parser.add_argument(
        "--size",
        type=_size,
        metavar="HEIGHTxWIDTH",
        help=f"of the clips, pixels (default: any, sides of {MIN_SIDE} to {MAX_SIDE})",
    )
    add_overwrite_argument(parser, help="replace an existing output")
    add_model_argument(parser)
    add_config_arguments(parser, help="config of the detector", required=False)


def check_arguments(options: argparse.Namespace) -> None:
    """Refuse options that do not go together.

    Args:
        options: of :func:`add_arguments`.

    Raises:
        UserError: if they do not.
    """
    suffix = FORMATS[options.format].suffix
    if options.output.suffix != suffix:
        raise UserError(f"{options.output}: a file of --format {options.format} ends with {suffix}")
    if options.batch is not None and options.batch < 1:
        raise UserError(f"--batch must be at least 1, got {options.batch}")


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not HEIGHTxWIDTH with sides of {MIN_SIDE} to {MAX_SIDE}, such as 256x340"
        )
    return size


def export(cfg: CfgNode, options: argparse.Namespace) -> None:
    """Trace, write and check; the file appears only if it computes what the detector does.

    Args:
        cfg: the config of the detector.
        options: of :func:`add_arguments`.

    Raises:
        ExportError: if the detector cannot be exported, or the file deviates from it.
        OSError: if the file cannot be written.
    """
    file_format = FORMATS[options.format]
    if options.output.exists() and not options.overwrite:
        raise FileExistsError(f"{options.output} exists; --overwrite replaces it")
    file_format.check_packages()
    model = cast(ClipModel, load_model(cfg))  # the program refuses any other
    shape = ClipShape.of(model, cfg.INPUT.CLIP.NUM_FRAMES, options.batch, options.size)
    program = trace_detector(model, shape)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(options.output) as partial:
        file_format.write(program, partial, deployment_record(cfg, shape, model))
        run = file_format.open(partial)
        cases = verification_shapes(shape, cfg.INPUT.MIN_SIZE_TEST)
        deviations = compare(run, model, shape, cases)
        rows = [
            ("x".join(map(str, d.shape)), *(getattr(d, name) for name in OUTPUTS))
            for d in deviations
        ]
        header = ("random clips", *OUTPUTS)
        print("Largest difference to the detector:")
        print(tabulate(rows, header, tablefmt="pipe", floatfmt=".1e"))
        # Written so that NaN fails.
        if not all(d.largest <= file_format.tolerance for d in deviations):
            raise ExportError(
                f"{options.output} is not written: it would differ from the detector by more than "
                f"{file_format.tolerance:g}"
            )
    print(f"{options.output}: {options.output.stat().st_size / 2**20:.1f} MiB")


def main(options: argparse.Namespace) -> int:
    """Export a detector.

    Args:
        options: of :func:`add_arguments`.

    Returns:
        exit status, 2 on a detector that cannot be exported and on wrong input.
    """
    log_to_console()
    check_started_once()
    cfg = load_config(options.config_file, options.opts)
    # An ONNX file knows no device; any other runs on that of the model, so on one that all have.
    device, cfg.MODEL.DEVICE = cfg.MODEL.DEVICE, "cpu"
    check_model_config(cfg)
    if options.format != "onnx" and "MODEL.DEVICE" in options.opts[::2]:
        cfg.MODEL.DEVICE = device  # checked when the model is built
    torch.manual_seed(0)
    export(cfg, options)
    return 0
