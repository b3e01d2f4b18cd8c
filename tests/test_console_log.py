import io
import logging
import multiprocessing
import os

import pytest

from tubedet import console_log
from tubedet.console_log import PlainFormatter, keep_one_handler_per_stream, log_to_console


def test_one_handler_per_stream():
    logger, first, second = logging.Logger("any"), io.StringIO(), io.StringIO()
    for stream in (first, second, first, first):
        logger.addHandler(logging.StreamHandler(stream))
    logger.addHandler(logging.NullHandler())
    keep_one_handler_per_stream(logger)
    logger.warning("once")
    assert (first.getvalue(), second.getvalue()) == ("once\n", "once\n")
    assert len(logger.handlers) == 3


def test_a_file_gets_no_colours():
    coloured = logging.Formatter("\x1b[32m[%(name)s]\x1b[0m %(message)s")
    record = logging.LogRecord(
        "d2", logging.INFO, "", 0, "\x1b[38;5;39mMODEL\x1b[39;00m: %s", ("[0m",), None
    )
    assert PlainFormatter(coloured).format(record) == "[d2] MODEL: [0m"
    assert PlainFormatter(None).format(record) == "MODEL: [0m"


def _log(rank, path):
    """In a process of its own, which keeps what it has set up."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    console_log.setup_logger.cache_clear()
    for _ in range(2):
        log_to_console(rank=rank)
        console_log.setup_logger(None, rank, name="tubedet")  # as of another run
    log_to_console(rank=rank)
    logger = logging.getLogger("tubedet.predict")
    logger.info("the results are in out")
    logger.warning("a video is damaged")


@pytest.mark.parametrize("rank", [0, 1])
def test_each_line_is_printed_once(rank, tmp_path):
    """And what all processes would say alike, by the first one alone."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_log, args=(rank, tmp_path / "out"))
    process.start()
    process.join()
    text = (tmp_path / "out").read_text()
    assert process.exitcode == 0
    assert text.count("a video is damaged") == 1
    assert text.count("the results are in out") == (1 if rank == 0 else 0)
