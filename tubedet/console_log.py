"""What tubedet logs, on the console: each line once, whoever asked for it and how often."""

from __future__ import annotations

import logging
import re

from detectron2.utils.logger import setup_logger

# What tells a terminal to change its colours, as detectron2 has it in messages.
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class PlainFormatter(logging.Formatter):
    """Take the colours of a terminal out of what another formatter makes, for a file.

    Args:
        formatter: of a handler; None: that of Python's ``logging``.
    """

    def __init__(self, formatter: logging.Formatter | None):
        super().__init__()
        self._formatter = formatter or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record without colours."""
        return _COLOUR.sub("", self._formatter.format(record))


def log_to_console(*, rank: int = 0) -> None:
    """Show what tubedet logs; of the processes after the first one only warnings and errors.

    Args:
        rank: number of this process.
    """
    setup_logger(name="tubedet")
    logger = logging.getLogger("tubedet")
    if rank:
        logger.setLevel(logging.WARNING)
    keep_one_handler_per_stream(logger)


def keep_one_handler_per_stream(logger: logging.Logger) -> None:
    """Drop handlers that would write each line to a stream once more.

    detectron2 adds a handler for the console at every call of ``setup_logger`` with new arguments,
    as for a second run of a process in another folder.

    Args:
        logger: of detectron2's ``setup_logger``.
    """
    streams = set()
    for handler in list(logger.handlers):
        if not isinstance(handler, logging.StreamHandler):
            continue
        if id(handler.stream) in streams:
            logger.removeHandler(handler)
        streams.add(id(handler.stream))
