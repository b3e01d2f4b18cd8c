import argparse
import logging

import pytest

from tubedet.engine import keep_earlier_config
from tubedet.engine.run_setup import _is_brief
from tubedet.errors import UserError


@pytest.mark.parametrize(
    "message, brief",
    [("Running with full config:\nA: 1", False), ("Environment info:\nx", False), ("iter 1", True)],
)
def test_the_console_leaves_out_dumps(message, brief):
    record = logging.LogRecord("detectron2", logging.INFO, "", 0, message, None, None)
    assert _is_brief(record) == brief


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
