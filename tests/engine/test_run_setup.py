import logging

import pytest

from tubedet.engine import load_config
from tubedet.engine.run_setup import _is_brief


def test_unknown_files_and_keys_are_named():
    with pytest.raises(FileNotFoundError, match="nowhere.yaml"):
        load_config("nowhere.yaml")
    with pytest.raises(KeyError, match="TUBBER"):
        load_config("", ["MODEL.TUBBER.NUM_QUERIES", 3])


def test_bases_and_overrides_are_merged():
    cfg = load_config("configs/AVA/TubeR_CSN152_AVA22.yaml", ["MODEL.TUBER.NUM_QUERIES", 30])
    assert (cfg.MODEL.CSN.DEPTH, cfg.MODEL.TUBER.NUM_QUERIES) == (152, 30)
    assert cfg.SOLVER.BASE_LR == 1e-4 and cfg.DATASETS.TEST == ("ava_v2.2_val",)


@pytest.mark.parametrize(
    "message, brief",
    [("Running with full config:\nA: 1", False), ("Environment info:\nx", False), ("iter 1", True)],
)
def test_the_console_leaves_out_dumps(message, brief):
    record = logging.LogRecord("detectron2", logging.INFO, "", 0, message, None, None)
    assert _is_brief(record) == brief
