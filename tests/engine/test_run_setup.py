import argparse
import logging
import multiprocessing
import sys

import pytest

from tubedet.engine import keep_earlier_config
from tubedet.engine.run_setup import _is_brief, _without_traceback, setup_run
from tubedet.engine.source_version import source_version
from tubedet.errors import UserError


@pytest.mark.parametrize(
    "message, brief",
    [("Running with full config:\nA: 1", False), ("Environment info:\nx", False), ("iter 1", True)],
)
def test_the_console_leaves_out_dumps(message, brief):
    record = logging.LogRecord("detectron2", logging.INFO, "", 0, message, None, None)
    assert _is_brief(record) == brief


def test_a_user_error_that_ends_a_training_has_no_traceback_in_the_log():
    for error, line in (
        (OSError(28, "the disk is full", "/out"), "Training ended: /out: the disk is full"),
        (KeyError("a bug"), "Exception during training:"),
    ):
        info = (type(error), error, None)
        record = logging.LogRecord("", logging.ERROR, "", 0, "Exception during training:", (), info)
        assert _without_traceback(record) is True
        assert (record.getMessage(), record.exc_info is None) == (line, "ended" in line)
        assert _is_brief(record) == ("ended" not in line)


@pytest.mark.parametrize("earlier", ["OLD: 1\n", None])
def test_a_refused_run_leaves_the_config_of_the_run_before(earlier, tmp_path):
    path = tmp_path / "config.yaml"
    if earlier is not None:
        path.write_text(earlier)
    args = argparse.Namespace(config_file="", opts=["OUTPUT_DIR", str(tmp_path)])
    with pytest.raises(UserError, match="refused"), keep_earlier_config(args):
        path.write_text("NEW: 1\n")
        raise UserError("refused")
    assert path.read_text() == (earlier or "NEW: 1\n")
    with keep_earlier_config(args):
        path.write_text("NEW: 2\n")
    assert path.read_text() == "NEW: 2\n"


def _set_up_twice(folder):
    """In a process of its own: it changes loggers, seeds and folders of the process."""
    written, streams = [], []

    def note(event, arguments):
        if event == "open" and str(arguments[0]).endswith("config.yaml") and arguments[2] & 3:
            written.append(arguments[0])

    sys.addaudithook(note)
    for name in ("first", "second"):
        args = argparse.Namespace(
            config_file="", opts=["OUTPUT_DIR", str(folder / name)], eval_only=True, num_gpus=1
        )
        cfg = setup_run(args)
        assert (folder / name / "config.yaml").read_text() == cfg.dump()
    assert written == []  # it was written under another name
    for name in ("detectron2", "fvcore", "tubedet"):
        handlers = logging.getLogger(name).handlers
        streams += [(name, handler.stream.name) for handler in handlers]
    assert len(set(streams)) == len(streams) == 9  # the console and two files for each
    logging.getLogger("detectron2").info("\x1b[31mred\x1b[0m")
    log = (folder / "second/log.txt").read_text()
    assert "\x1b" not in log and log.endswith(": red\n")
    assert log.count("Running with full config") == 1 and "MAX_ITER" in log
    assert log.count(f"tubedet {source_version()}") == 1


def test_config_is_written_whole_and_lines_are_printed_once(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=_set_up_twice, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0
