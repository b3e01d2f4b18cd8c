import logging

import pytest

from tubedet.engine.run_setup import _is_brief


@pytest.mark.parametrize(
    "message, brief",
    [("Running with full config:\nA: 1", False), ("Environment info:\nx", False), ("iter 1", True)],
)
def test_the_console_leaves_out_dumps(message, brief):
    record = logging.LogRecord("detectron2", logging.INFO, "", 0, message, None, None)
    assert _is_brief(record) == brief
