"""``OUTPUT_DIR auto``: a new numbered folder for every run."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
from pathlib import Path

from detectron2.utils import comm

from tubedet.agreement import agreed_errors, of_main_process
from tubedet.errors import UserError

from .config_loading import load_config

logger = logging.getLogger(__name__)

AUTO = "auto"
_PARENT = "output"


def latest_training(parent: str | Path = _PARENT) -> str:
    """Return the numbered folder with the highest number that has a checkpoint.

    Args:
        parent: of the folders.

    Raises:
        UserError: if none has one.
    """
    for number in sorted(_numbers(parent), reverse=True):
        folder = _folder(parent, number)
        if os.path.isfile(os.path.join(folder, "last_checkpoint")):
            return folder
    raise UserError(
        f"--resume with OUTPUT_DIR {AUTO} goes on with the latest numbered folder of {parent}/, "
        "but none has a checkpoint; name the OUTPUT_DIR of the training"
    )


def next_folder(parent: str | Path = _PARENT) -> str:
    """Return the numbered folder behind all others; it is not made.

    Args:
        parent: of the folders.
    """
    return _folder(parent, max(_numbers(parent), default=0) + 1)


def make_next_folder(parent: str | Path = _PARENT) -> str:
    """Make the numbered folder behind all others; of two runs at the same time each gets its own.

    Args:
        parent: of the folders; it is made.
    """
    os.makedirs(parent, exist_ok=True)
    while True:
        folder = next_folder(parent)
        with contextlib.suppress(FileExistsError):  # another run was faster
            os.mkdir(folder)
            return folder


def with_numbered_folder(args: argparse.Namespace) -> argparse.Namespace:
    """Put a folder in the place of ``OUTPUT_DIR auto``; all processes of a run call it together.

    The main process chooses it, so that all have the same one.

    Args:
        args: with ``config_file``, ``opts`` and perhaps ``resume``.

    Returns:
        the same if ``OUTPUT_DIR`` is not "auto"; else with the folder at the end of ``opts``.

    Raises:
        UserError: if a run is to be resumed and there is none.
    """
    if load_config(args.config_file, args.opts).OUTPUT_DIR != AUTO:
        return args
    folder = ""
    with agreed_errors():
        if comm.is_main_process():
            folder = latest_training() if getattr(args, "resume", False) else make_next_folder()
    folder = of_main_process(folder)
    logger.info(f"OUTPUT_DIR {AUTO}: {folder}")
    opts = [*(args.opts or []), "OUTPUT_DIR", folder]
    return argparse.Namespace(**{**vars(args), "opts": opts})


def _folder(parent: str | Path, number: int) -> str:
    return os.path.join(parent, f"{number:03d}")


def _numbers(parent: str | Path) -> list[int]:
    if not os.path.isdir(parent):
        return []
    return [int(name) for name in os.listdir(parent) if name.isascii() and name.isdigit()]
