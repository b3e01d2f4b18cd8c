"""The set-up of each process of a run: logs, folders, seeds, threads."""

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from tubedet.checkpoint.checkpointer import REPORT_FILE
from tubedet.console_log import PlainFormatter, keep_one_handler_per_stream
from tubedet.errors import USER_ERRORS, message_of
from tubedet.files.atomic_writing import open_atomically

from .config_loading import find_config_file, load_config
from .numbered_folders import with_numbered_folder
from .source_version import source_version

# What says how a training began.
_RECORDS = ("config.yaml", REPORT_FILE)
# Multi-line dumps of detectron2's set-up: kept in log.txt and config.yaml, not on the console.
# So is the end by an error of the user, which the command prints.
_TRAINING_ENDED = "Training ended: "
_VERSION = "tubedet "
_FILE_ONLY = (
    _VERSION,
    "Environment info",
    "Contents of args.config_file",
    "Running with full config",
    _TRAINING_ENDED,
)


def setup_run(args: argparse.Namespace) -> CfgNode:
    """Prepare a process of a training or evaluation run.

    ``OUTPUT_DIR auto`` is a new numbered folder, see :func:`.with_numbered_folder`.

    Reads and freezes the config; logs to the console and to ``OUTPUT_DIR/log.txt``; writes the
    full config to ``OUTPUT_DIR/config.yaml``; seeds the generators; shares the cores among the
    processes of a CPU run.

    Args:
        args: of detectron2's ``default_argument_parser``.

    Returns:
        the frozen config.
    """
    args = with_numbered_folder(args)
    cfg = load_config(args.config_file, args.opts)
    cfg.freeze()
    rank = comm.get_rank()
    # The very calls of default_setup are among them: detectron2 sets up each logger once.
    for folder in (cfg.OUTPUT_DIR, None):
        loggers = [setup_logger(folder, distributed_rank=rank)]
        for name in ("fvcore", "tubedet"):
            loggers.append(setup_logger(folder, distributed_rank=rank, name=name))
    for logger in loggers:
        keep_one_handler_per_stream(logger)
        for handler in logger.handlers:
            is_console = getattr(handler, "stream", None) in (sys.stdout, sys.stderr)
            if not is_console and not isinstance(handler.formatter, PlainFormatter):
                handler.setFormatter(PlainFormatter(handler.formatter))
    for handler in loggers[0].handlers:
        if getattr(handler, "stream", None) is sys.stdout:
            handler.addFilter(_is_brief)
    logging.getLogger("detectron2.engine.train_loop").addFilter(_without_traceback)
    if args.config_file:  # detectron2 logs what the file holds
        args = argparse.Namespace(
            **{**vars(args), "config_file": find_config_file(args.config_file)}
        )
    # It would write config.yaml in place, so that a kill could leave half of it.
    unsaved = cfg.clone()
    unsaved.defrost()
    unsaved.OUTPUT_DIR = None
    default_setup(unsaved, args)
    if rank == 0:
        loggers[0].info(f"{_VERSION}{source_version()}")
        path, content = os.path.join(cfg.OUTPUT_DIR, "config.yaml"), cfg.dump()
        with open_atomically(path) as stream:
            stream.write(content)
        loggers[0].info(f"Running with full config, saved to {path}:\n{content}")
    if cfg.MODEL.DEVICE == "cpu" and args.num_gpus > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // args.num_gpus))
    return cfg


@contextlib.contextmanager
def keep_earlier_config(args: argparse.Namespace) -> Iterator[Callable[[], None]]:
    """Put an earlier ``OUTPUT_DIR/config.yaml`` back if the new run is refused within.

    Args:
        args: as for :func:`setup_run`, which writes the file.

    Yields:
        what puts it back at once, and the load report as well, for a run that changes no training.
    """
    folder = Path(load_config(args.config_file, args.opts).OUTPUT_DIR)
    config, report = ((folder / name, _content(folder / name)) for name in _RECORDS)

    def put_back() -> None:
        for path, content in (config, report):
            _restore(path, content)

    try:
        yield put_back
    except USER_ERRORS:
        if config[1] is not None:
            _restore(*config)
        raise


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _restore(path: Path, content: bytes | None) -> None:
    if not comm.is_main_process():
        return
    if content is None:
        path.unlink(missing_ok=True)
        return
    with open_atomically(path, "wb") as stream:
        stream.write(content)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Let a user error that ends a training be one line in the log, too."""
    if record.exc_info and isinstance(record.exc_info[1], USER_ERRORS):
        record.msg, record.args = f"{_TRAINING_ENDED}{message_of(record.exc_info[1])}", ()
        record.exc_info = None
    return True


def _is_brief(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_FILE_ONLY)
